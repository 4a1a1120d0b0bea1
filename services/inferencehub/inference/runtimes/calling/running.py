"""The calls of other models that one call of a Python model makes: each a task, all of which end with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import CALL_DEPTH, Callers, InferRequest, Parameter
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.support.error_text import IN_LOG

logger = logging.getLogger(__name__)

MOST = 256  # calls that one call may have at a time
Give = Callable[[int, tuple[Tensor, ...] | HubError], None]


class Origin(NamedTuple):
    """The run that a call of another model belongs to.

    Args:
        callers: whose run it is.
        deadline: of the run, in seconds of `time.monotonic`.
        depth: how many calls of models it is in itself.
    """

    callers: Callers
    deadline: float
    depth: int


class Gateway(Protocol):
    """Runs calls of models, as the gateway does."""

    async def infer(self, request: InferRequest, origin: Origin) -> tuple[Tensor, ...]:
        """The outputs of a call.

        Raises:
            HubError: if it fails.
        """


class RunningCalls:
    """See the module's text.

    Args:
        gateway: where they go; None if no setting says it.
        give: takes the number of a call, and its outputs or its error.
    """

    def __init__(self, gateway: Gateway | None, give: Give) -> None:
        self._gateway = gateway
        self._give = give
        self._origin: Origin | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, request: InferRequest, deadline: float) -> None:
        """A call of the model begins, which may make others."""
        self._origin = Origin(request.callers, deadline, depth_of(request.parameters))

    def end(self) -> None:
        """It has ended, or nobody waits for it any more: its calls end, too."""
        self._origin = None
        for task in self._tasks.values():
            task.cancel()
        self._tasks = {}

    def ask(self, number: int, request: InferRequest) -> None:
        """Make a call, which the model calls `number`."""
        if self._origin is None:  # the process has not heard yet that it has ended
            return
        if len(self._tasks) >= MOST:
            detail = (
                f"this call makes {MOST} calls of other models at a time already, expected at most {MOST}"
            )
            self._give(number, HubError(Kind.BUSY, detail))
            return
        work = self._answer(number, request, self._origin)
        self._tasks[number] = asyncio.get_running_loop().create_task(work)

    def drop(self, number: int) -> None:
        """The model does not wait for a call any more."""
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    async def _answer(self, number: int, request: InferRequest, origin: Origin) -> None:
        """Make a call, and give its answer. When it is cancelled, nobody waits for that."""
        given: tuple[Tensor, ...] | HubError
        try:
            if self._gateway is None:
                raise HubError(Kind.UNSUPPORTED, "its pod knows no gateway, expected the setting HUB_GATEWAY")
            given = await self._gateway.infer(request, origin)
        except HubError as error:
            given = error.with_traceback(None)
        except Exception:
            logger.exception("a model's call failed", extra={"model": request.model})
            given = HubError(Kind.MODEL_FAILED, IN_LOG)
        del self._tasks[number]
        self._give(number, given)


def depth_of(parameters: Mapping[str, Parameter]) -> int:
    """How many calls of models a request is in itself; 0 if its parameters do not say it as they should."""
    depth = parameters.get(CALL_DEPTH, 0)
    return max(0, depth) if type(depth) is int else 0
