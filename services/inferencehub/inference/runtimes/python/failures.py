"""How a call to the process of a Python model can fail, and what the log shows of it."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress

from inferencehub.core.values.requests import NO_CALLERS, Callers
from inferencehub.inference.runtimes.python.channel import ModelFailed

logger = logging.getLogger(__name__)
IDS_LIMIT = 2000  # characters of all ids in a line: callers choose them


class ProcessEnded(Exception):
    """The process ended before it answered.

    Args:
        how: for example "signal 9" or "exit status 1".
        hung: whether the service killed it because the run did not end.
        unread: whether the process never read the call, so that another process may run it.
    """

    def __init__(self, how: str, hung: bool, unread: bool) -> None:
        super().__init__(how)
        self.how = how
        self.hung = hung
        self.unread = unread


def log_trace(model: str, failure: ModelFailed, callers: Callers = NO_CALLERS) -> None:
    """Log a failure, with the traceback, which the caller does not get.

    Callers can cause any number of refusals, so a refusal has its traceback only if the level is DEBUG.

    Args:
        model: its name.
        failure: what it gave.
        callers: whose call it was, if it was one.
    """
    about = {"model": model, "detail": failure.detail, **known(callers)}
    trace = {"traceback": failure.trace}
    if failure.refused:
        logger.info("model refused", extra=about | (trace if logger.isEnabledFor(logging.DEBUG) else {}))
    else:
        logger.error("model failed", extra=about | trace)


def known(callers: Callers) -> dict[str, str]:
    """The ids of some callers and of their run's trace, for a log line."""
    found = {"id": callers.id[:IDS_LIMIT], "trace_id": callers.traceparent[3:35]}
    return {name: value for name, value in found.items() if value}


def how_ended(status: int) -> str:
    """How a process ended, from its exit status."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def kill_group(pid: int) -> None:
    """Kill a process group, if there is any of it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
