"""What is kept of a batch of OpenAI's API beside its items: what its owner said of it, or why its file was not as expected."""

from __future__ import annotations

import msgspec

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.record import JobRecord


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with an input file: OpenAI's object, with the code that its API has for it.

    Args:
        code: such as `invalid_url`.
        message: one sentence for the caller.
        line: number of the line; None if it is the whole file.
        param: the field that is wrong; None if it is the whole line.
    """

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class About(msgspec.Struct, frozen=True):
    """See the module's text.

    Args:
        input_file_id: the file that it was made of.
        endpoint: the path of all its items.
        wait_s: seconds that its items may wait.
        metadata: what its owner has put down; None for nothing.
        errors: what is wrong with the file; such a batch has no items.
    """

    input_file_id: str
    endpoint: str
    wait_s: float
    metadata: dict[str, str] | None = None
    errors: tuple[LineError, ...] = ()


def about_of(record: JobRecord) -> About:
    """What is kept of a batch.

    Raises:
        HubError: NOT_FOUND for a job that is none, or that came another way.
    """
    if record.items is None or not record.items.about:
        raise no_batch(record.id)
    return msgspec.json.decode(record.items.about, type=About)


def no_batch(id: str) -> HubError:
    """The error for a batch that is not there, or that belongs to somebody else."""
    return HubError(Kind.NOT_FOUND, f"there is no batch '{id[:80]}'")
