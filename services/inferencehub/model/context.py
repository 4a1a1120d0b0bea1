"""What a Python model may ask about the call that it runs, and say of it.

from inferencehub.model.context import Context


class Model:
    def predict(self, inputs, context: Context): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from time import monotonic
from typing import Any

from inferencehub.model.calls import ModelCalls, Parameter, asked

FINEST = 0.01  # a smaller step of progress is not told
MANY, PAUSE_S = 200, 0.1  # after so many, they are told with pauses


class Context:
    """The second argument of `predict`, if that is called `context`.

    Args:
        id: the request's id; if several callers share the run, their ids, separated by commas.
        traceparent, tracestate: headers for what the model calls (W3C Trace Context), "" where there are none.
        deadline: in seconds of `time.monotonic`; the latest one, if several callers share the run.
        parameters: the request's parameters.
        stopped: whether all callers have left.
        calls: makes calls of other models.
        tell: gets how far the run is; None if nobody wants to know.
    """

    def __init__(
        self,
        id: str,
        traceparent: str,
        tracestate: str,
        deadline: float,
        parameters: Mapping[str, Parameter],
        stopped: Callable[[], bool],
        calls: ModelCalls,
        tell: Callable[[float], None] | None = None,
    ) -> None:
        self.id = id
        self.traceparent, self.tracestate = traceparent, tracestate
        self.deadline = deadline
        self.parameters = parameters
        self._stopped = stopped
        self._calls = calls
        self._tell = tell
        self._last, self._count, self._at = -1.0, 0, 0.0  # what was told, how often, and when

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0.0 behind it."""
        return max(0.0, self.deadline - monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more, so that the run may end early."""
        return monotonic() >= self.deadline or self._stopped()

    async def call(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        parameters: Mapping[str, Parameter] | None = None,
    ) -> dict[str, Any]:
        """Call another model through the gateway, as any caller does: `await context.call("other", {"x": array})`.

        The call has this run's deadline, id and trace. It ends when nobody waits for this run any more, or for the call.

        Args:
            model, version: whom to call; version "" for the one that callers get who name none.
            inputs: an array, or what numpy reads as one, for each input by name; rows first if the model batches. Their
                types are those that the model wants.
            outputs: names of the outputs that are wanted; () for all.
            parameters: for the model.

        Returns:
            An array for each output by name.

        Raises:
            CallError: if the call fails; it has the kind of the error and a sentence.
            TypeError: if an input is no array of a type that models have, a name no text, or a parameter of another type.
        """
        return await self._calls.call(asked(model, version, inputs, outputs, parameters))

    def call_sync(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        parameters: Mapping[str, Parameter] | None = None,
    ) -> dict[str, Any]:
        """As `call`, for a `predict` that is no coroutine, and for its threads: the thread waits.

        Raises:
            CallError, TypeError: as `call`.
            RuntimeError: if it would block the event loop of an `async def predict`.
        """
        return self._calls.call_sync(asked(model, version, inputs, outputs, parameters))

    def progress(self, value: float) -> None:
        """Say how far the run is, from 0 to 1; what is beyond is taken for the nearer one. It costs nothing if nobody asks.

        Raises:
            TypeError: if it is no number.
        """
        try:
            value = float(value)
        except ValueError:
            value = nan
        if isnan(value):  # no ValueError, with which a model refuses its input
            raise TypeError("context.progress takes a number from 0 to 1")
        if self._tell is None:
            return
        value = min(1.0, max(0.0, value))
        if abs(value - self._last) < FINEST and not (value == 1.0 > self._last):
            return
        now = monotonic()
        if self._count >= MANY and now - self._at < PAUSE_S:
            return
        self._last, self._at = value, now
        self._count += 1
        self._tell(value)
