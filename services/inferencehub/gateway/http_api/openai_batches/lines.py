"""Reads the input file of a batch, by OpenAI's rules: if any line is not as expected, nothing runs, and the batch says why.

Specification: the input file of OpenAI's Batch API. Unlike there, the lines may name several models.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from inferencehub.core.values.errors import HubError
from inferencehub.gateway.http_api.batches.lines import MOST_ID, File, Line, in_lines
from inferencehub.gateway.http_api.openai_batches.about import About, LineError
from inferencehub.gateway.json_codec.json_text import decode

MOST_ERRORS = 100  # that a batch tells of


class Row(msgspec.Struct):
    """A line as it comes."""

    custom_id: str = ""
    method: str = ""
    url: str = ""
    body: msgspec.Raw = msgspec.Raw(b"")


class Body(msgspec.Struct):
    """What the body of a line must not ask for."""

    stream: bool | None = None


ROWS, BODIES = msgspec.json.Decoder(Row), msgspec.json.Decoder(Body)


def read_lines(data: bytes, most: int, about: About) -> File:
    """Read a file; without lines, and with the reasons in `about`, if it is not as expected.

    Args:
        data: one JSON object in each line; empty lines are left out.
        most: items that it may have.
        about: what was said of the batch.
    """
    said = msgspec.json.encode(about)
    found, errors, numbers = list[Line](), list[LineError](), dict[str, int]()
    for number, text in in_lines(data):
        if len(found) == most:
            errors.append(LineError("too_many_tasks", f"expected at most {most} lines in a file", number))
        if len(errors) >= MOST_ERRORS or len(found) == most:
            break
        row = read_row(text, number)
        error = row if isinstance(row, LineError) else wrong(row, number, about.endpoint, numbers)
        if error is not None:
            errors.append(error)
        if not errors and isinstance(row, Row):
            found.append(Line(row.url, row.body, row.method, row.custom_id))
    if not found and not errors:
        errors.append(LineError("empty_file", "the file is empty, expected a JSON object in each line"))
    digest = sha256(data)
    digest.update(said)
    if errors:
        return File([], digest.hexdigest(), msgspec.json.encode(_with(about, errors)))
    return File(found, digest.hexdigest(), said)


def read_row(text: memoryview | bytes, number: int) -> Row | LineError:
    """A line, or what is wrong with its JSON."""
    try:
        row: Row = decode(ROWS, text)
        if row.body:
            body: Body = decode(BODIES, row.body)
            if body.stream:
                why = "'stream' is true, expected none: answers of a batch come in one piece"
                return LineError("unsupported_parameter", why, number, "body.stream")
    except HubError as error:
        return LineError("invalid_json_line", error.detail.replace("the body", "the line"), number)
    return row


def wrong(row: Row, number: int, endpoint: str, numbers: dict[str, int]) -> LineError | None:
    """What is wrong with a line that could be read; None for nothing. `numbers` gets its custom_id."""
    for name in ("custom_id", "method", "url", "body"):
        if not getattr(row, name):
            return LineError("missing_required_parameter", f"'{name}' is missing", number, name)
    if row.method != "POST":
        return LineError("invalid_method", f"expected POST, got '{row.method[:80]}'", number, "method")
    if row.url != endpoint:
        text = f"expected the endpoint of the batch, {endpoint}, got '{row.url[:80]}'"
        return LineError("invalid_url", text, number, "url")
    if len(row.custom_id) > MOST_ID:
        text = f"expected at most {MOST_ID} characters, got {len(row.custom_id)}"
        return LineError("invalid_value", text, number, "custom_id")
    first = numbers.setdefault(row.custom_id, number)
    if first != number:
        text = f"'{row.custom_id[:80]}' is that of line {first} already"
        return LineError("duplicate_custom_id", text, number, "custom_id")
    return None


def _with(about: About, errors: list[LineError]) -> About:
    return msgspec.structs.replace(about, errors=tuple(errors))
