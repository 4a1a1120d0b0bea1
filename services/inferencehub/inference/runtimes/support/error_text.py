"""Text of libraries and of users' code, made fit to be shown: its first line, without the directories of this machine."""

from __future__ import annotations

import re

LONGEST = 300
# The directories of an absolute path, up to its last name; a URL has no such beginning.
DIRECTORIES = re.compile(r"(?<![\w./~-])/(?:[^\s/'\",:;()<>]+/)+")


def without_directories(text: str) -> str:
    """The text with each absolute path cut down to its last name."""
    return DIRECTORIES.sub("", text)


def first_line(message: object) -> str:
    """The first line of a text or of an exception's message, fit to be shown; "" where there is none."""
    lines = str(message).strip().splitlines()
    return without_directories(lines[0])[:LONGEST] if lines else ""
