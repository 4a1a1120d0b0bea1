"""Reads an upload: a form of RFC 7578 with one file, and fields that say what it is for."""

from __future__ import annotations

from typing import NamedTuple

from inferencehub.core.values.errors import bad_input
from inferencehub.gateway.json_codec.files import parts_of

MOST_PARTS = 16
LONGEST_FIELD = 1024  # bytes
LONGEST_NAME = 255  # characters of a file's name


class Form(NamedTuple):
    """What was sent: the file's name and bytes, and the other fields."""

    name: str
    data: bytes
    fields: dict[str, str]


def read_form(body: bytes, content_type: str) -> Form:
    """Read an upload. It copies the file, so a thread does it.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    name, data, fields = "", None, dict[str, str]()
    for part in parts_of(body, content_type, MOST_PARTS):
        if part.name == "file":
            name, data = part.filename, part.data
        else:
            fields[part.name] = text_of(part.name, part.data)
    if data is None:
        raise bad_input("the form has no part 'file', expected one with the lines of a batch")
    return Form(name[-LONGEST_NAME:] or "upload", data, fields)


def text_of(name: str, data: bytes) -> str:
    """The text of a field.

    Raises:
        HubError: BAD_INPUT if it is none, or too long.
    """
    if len(data) > LONGEST_FIELD:
        raise bad_input(
            f"'{name[:80]}' has {len(data)} bytes, expected at most {LONGEST_FIELD}; only 'file' may have more"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_input(f"'{name[:80]}' is no text in UTF-8") from None
