"""Files that are parts of a batch's result. Nothing of them is kept: they are read out of the answers of its items."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from inferencehub.gateway.http_api.jobs.answers import pages_of, shown
from inferencehub.gateway.http_api.openai_batches.about import about_of
from inferencehub.gateway.http_api.openai_batches.objects import ERRORS, OUTPUT, has_part
from inferencehub.gateway.jobs.batch import MARK, Batches, ItemAnswer
from inferencehub.gateway.jobs.files import StoredFile, no_file
from inferencehub.gateway.jobs.fronts.asking import Asking
from inferencehub.gateway.jobs.record import JobRecord, State

ID = re.compile(rf"file-([0-9a-f]+{MARK})-({OUTPUT}|{ERRORS})")


class Output(NamedTuple):
    """A part of the result of a batch."""

    id: str
    record: JobRecord
    part: str

    async def lines(self, batches: Batches, owner: str) -> AsyncIterator[bytes]:
        """The file, in pieces.

        Raises:
            HubError: GONE if its time is over.
        """
        first = await batches.answers(owner, self.record.id, "")

        def wanted(answer: ItemAnswer) -> bool:
            return (answer.state is State.SUCCEEDED) is (self.part == OUTPUT)

        return pages_of(batches, owner, self.record.id, first, wanted, told)

    async def known(self, batches: Batches, owner: str) -> StoredFile:
        """What is known of the file; its size is that of all lines, which are made for that.

        Raises:
            HubError: GONE if its time is over.
        """
        size = sum([len(piece) async for piece in await self.lines(batches, owner)])
        record = self.record
        name = f"{record.id}_{self.part}.jsonl"
        return StoredFile(self.id, name, size, record.ended or 0.0, record.expires or 0.0)


async def output_of(asking: Asking, id: str) -> Output | None:
    """The part of a result that has an id; None for the id of another file.

    Raises:
        HubError: NOT_FOUND if there is none.
    """
    match = ID.fullmatch(id)
    if match is None:
        return None
    record, part = await asking.job(match[1]), match[2]
    about_of(record)
    if record.items is None or not has_part(record, record.items, part):
        raise no_file(id)
    return Output(id, record, part)


def told(answer: ItemAnswer) -> dict[str, Any]:
    """An answer as its line has it; what did not run has OpenAI's codes."""
    found = shown(answer)
    if found["error"] is not None and answer.state is not State.FAILED:
        found["error"]["code"] = f"batch_{answer.state.value}"
    return found
