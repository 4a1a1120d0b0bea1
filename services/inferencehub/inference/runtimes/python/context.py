"""What a Python model may ask about the call that it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from inferencehub.core.values.requests import Parameter


class Context:
    """The second argument of `predict`, if that is called `context`.

    Args:
        id: the request's id; if several callers share the run, their ids, separated by commas.
        deadline: in seconds of `time.monotonic`; the latest one, if several callers share the run.
        parameters: the request's parameters.
        stopped: whether all callers have left.
    """

    def __init__(
        self, id: str, deadline: float, parameters: Mapping[str, Parameter], stopped: Callable[[], bool]
    ) -> None:
        self.id = id
        self.deadline = deadline
        self.parameters = parameters
        self._stopped = stopped

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more, so that the run may end early."""
        return monotonic() >= self.deadline or self._stopped()
