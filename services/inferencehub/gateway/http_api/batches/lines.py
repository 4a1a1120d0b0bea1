"""Reads the file of a batch: JSON lines, or a list.

Specification: the input file of OpenAI's Batch API. `custom_id` and `method` may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

import msgspec

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.gateway.json_codec.json_text import decode

MOST_ID = 512  # characters of a custom_id


class Line(msgspec.Struct):
    """One item, as it comes."""

    url: str
    body: msgspec.Raw
    method: str = "POST"
    custom_id: str = ""


class File(NamedTuple):
    """What was read.

    Args:
        lines: its items; each has a custom_id, its number if it came without one.
        digest: of all that one idempotency key must not be used for twice.
        about: what is kept of the batch beside its items.
    """

    lines: list[Line]
    digest: str
    about: bytes = b""


LINES = msgspec.json.Decoder(Line)
LISTS = msgspec.json.Decoder(list[msgspec.Raw])


def read_file(data: bytes, most: int) -> File:
    """Read a file. It takes some ms for a large one, so a thread does it.

    Args:
        data: a list of JSON if it begins so, else one object in each line; empty lines are left out.
        most: items that it may have.

    Raises:
        HubError: BAD_INPUT naming the first line that is not as expected, TOO_LARGE for too many.
    """
    is_list = data[:100].lstrip().startswith(b"[")
    word = "item" if is_list else "line"
    found: list[Line] = []
    numbers: dict[str, int] = {}
    for number, text in in_list(data) if is_list else in_lines(data):
        if len(found) == most:
            raise HubError(Kind.TOO_LARGE, f"{word} {number}: expected at most {most} items in a batch")
        line = read_line(text, f"{word} {number}")
        line.custom_id = line.custom_id or str(number)
        first = numbers.setdefault(line.custom_id, number)
        if first != number:
            shown = line.custom_id[:80]
            raise bad_input(f"{word} {number}: custom_id '{shown}' is that of {word} {first} already")
        found.append(line)
    if not found:
        raise bad_input("the body has no items, expected a JSON object in each line, or a list of them")
    return File(found, sha256(data).hexdigest())


def in_lines(data: bytes) -> Iterator[tuple[int, memoryview | bytes]]:
    """Numbers and texts of lines that are not empty."""
    at, number, view = 0, 0, memoryview(data)
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        number += 1
        text = view[at:end]
        if end - at > 100 or bytes(text).strip():
            yield number, text
        at = end + 1


def in_list(data: bytes) -> Iterator[tuple[int, memoryview | bytes]]:
    """Numbers and texts of the items of a list."""
    texts: list[msgspec.Raw] = decode(LISTS, data)
    for number, text in enumerate(texts, 1):
        yield number, memoryview(text)


def read_line(text: memoryview | bytes, where: str) -> Line:
    """Read one item.

    Raises:
        HubError: BAD_INPUT saying what was expected, and where.
    """
    try:
        line: Line = decode(LINES, text)
    except HubError as error:
        raise bad_input(f"{where}: {error.detail.replace('the body', 'it')}") from None
    if len(line.custom_id) > MOST_ID:
        raise bad_input(
            f"{where}: custom_id has {len(line.custom_id)} characters, expected at most {MOST_ID}"
        )
    return line
