"""Whether a caller wants a job: the metadata `hub-async`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.gateway.jobs.fronts.headers import LONGEST_WAIT_S

ASYNC = b"hub-async"
WAIT = re.compile(rb"wait=([0-9]{1,3})")


def wait_of(fields: Mapping[bytes, bytes]) -> int | None:
    """Seconds that the caller of a call waits for the end of its job; None if it is to be no job.

    Args:
        fields: the call's metadata.

    Raises:
        HubError: BAD_INPUT for a value that is none.
    """
    value = fields.get(ASYNC, b"false").lower()
    if value in (b"true", b"false"):
        return 0 if value == b"true" else None
    found = WAIT.fullmatch(value)
    if found is None or int(found[1]) > LONGEST_WAIT_S:
        shown = value[:40].decode(errors="replace")
        raise bad_input(
            f"hub-async: expected true, false, or wait= with 0 to {LONGEST_WAIT_S} seconds, got '{shown}'"
        )
    return int(found[1])


def refuse_job(fields: Mapping[bytes, bytes], method: str) -> None:
    """Refuse a call that is to be a job and can't be one. A caller who does not wait would learn of no other answer.

    Args:
        fields: the call's metadata.
        method: its name, for the sentence.

    Raises:
        HubError: UNSUPPORTED, or BAD_INPUT as `wait_of`.
    """
    if wait_of(fields) is not None:
        raise HubError(Kind.UNSUPPORTED, f"{method} cannot become a job (hub-async), expected ModelInfer")
