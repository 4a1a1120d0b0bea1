"""What a Python model may ask about the call that it runs, and say of it.

from inferencehub.model.context import Context


class Model:
    def predict(self, inputs, context: Context): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan, nan
from time import monotonic

Parameter = bool | int | float | str
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
        tell: Callable[[float], None] | None = None,
    ) -> None:
        self.id = id
        self.traceparent, self.tracestate = traceparent, tracestate
        self.deadline = deadline
        self.parameters = parameters
        self._stopped = stopped
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
