"""The result of a batch: a line of JSON for each item.

Specification: the output file of OpenAI's Batch API. The body of a response is the JSON that a call would have got; text,
such as events, is a string of it; all else is base64, with the headers that are needed to read it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from inferencehub.gateway.jobs.batch import PAGE_BYTES, Batches, ItemAnswer
from inferencehub.gateway.jobs.packing import unpacked_result
from inferencehub.gateway.jobs.record import Result
from inferencehub.gateway.json_codec.answer_json import encode
from inferencehub.gateway.json_codec.binary import JSON_SIZE

BINARY_HEADERS = (b"content-type", JSON_SIZE.lower())


def shown(answer: ItemAnswer) -> dict[str, Any]:
    """An answer as its line has it. `error` is only for items that have no response."""
    result, error = answer.result, None
    if result is None:
        error = {"code": answer.state.value, "message": answer.error}
    response = (
        None if result is None else {"status_code": result.status, "request_id": answer.id, **body_of(result)}
    )
    return {"id": answer.id, "custom_id": answer.custom_id, "response": response, "error": error}


async def pages_of(
    batches: Batches,
    owner: str,
    id: str,
    page: list[ItemAnswer],
    wanted: Callable[[ItemAnswer], bool] = lambda answer: True,
    shown: Callable[[ItemAnswer], dict[str, Any]] = shown,
) -> AsyncIterator[bytes]:
    """The lines of a batch, read by pages of the store.

    Args:
        batches, owner, id: which batch.
        page: the first page of the store.
        wanted: whether there is a line for an answer.
        shown: an answer as its line has it.

    A small page may have large answers, which are kept compressed: so few of them are in memory at a time.
    """
    lines = bytearray()
    while page:
        for answer in filter(wanted, page):
            if answer.result is not None:
                answer = answer._replace(result=await unpacked_result(answer.result))
            lines += encode(shown(answer)) + b"\n"
            if len(lines) >= PAGE_BYTES:
                yield bytes(lines)
                lines.clear()
        page = await batches.answers(owner, id, page[-1].id)
    yield bytes(lines)


def body_of(result: Result) -> dict[str, Any]:
    """The body of a result, and what is needed to read it."""
    headers = dict(line.split(b": ", 1) for line in result.lines.split(b"\r\n") if line)
    kind = headers.get(b"content-type", b"")
    if kind.startswith(b"application/json") and b"\n" not in result.body:
        return {"body": msgspec.Raw(result.body)}
    if kind.startswith((b"application/json", b"text/")):
        return {"body": result.body.decode(errors="replace")}
    told = {name.decode(): headers[name].decode("latin-1") for name in BINARY_HEADERS if name in headers}
    return {"body": b64encode(result.body).decode(), "encoding": "base64", "headers": told}
