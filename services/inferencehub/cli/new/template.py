"""Templates of models: one text file each, beside this one.

The first line says what it is. Then come the files of the model, each behind a line `=== path`:

    === 1/model.py                  the text as it is, with {name} for the model's name, {directory} for its directory
    === warmup/x as an element      the text as one element of BYTES, with its length in front
    === 1/model.onnx from --file    the file that the user gives; `that begins with PK` says what it is known by

In a path, {name} is the model's name as Python may have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
HEAD = re.compile(r"^=== (\S+)( as an element| from --file)?(?: that begins with (\S+))?$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # hidden and private directories are no models


class Template(NamedTuple):
    """A template: what it is, in a few words, and its text."""

    about: str
    text: str

    @property
    def takes_file(self) -> bool:
        """Whether a part of it is a file of the user."""
        return " from --file" in self.text

    @property
    def begins(self) -> bytes:
        """The first bytes of the user's file; none if they may be any."""
        return next((mark.encode() for _, _, _, mark in self._parts() if mark), b"")

    def _parts(self) -> Iterator[tuple[str, str | None, str, str | None]]:
        """Each file's path, what kind it has, its text, and the first characters that a user's file must have."""
        _, *parts = HEAD.split(self.text)
        for path, kind, mark, text in zip(*(parts[place::4] for place in range(4)), strict=True):
            yield path, kind, text, mark

    def files(self, name: str, directory: Path, given: bytes) -> Iterator[tuple[str, bytes]]:
        """Each file's path in the model's directory, and what is in it.

        Args:
            name: of the model.
            directory: of the model, as the user's commands name it.
            given: the user's file.
        """
        for path, kind, text, _ in self._parts():
            text = text.removeprefix("\n").replace("{name}", name).replace("{directory}", str(directory))
            content = text.encode()
            if kind == " from --file":
                content = given
            elif kind:
                content = len(content).to_bytes(4, "little") + content
            yield path.replace("{name}", re.sub(r"\W", "_", name)), content


def templates() -> dict[str, Template]:
    """All templates by name."""
    found = {}
    for path in sorted(HERE.glob("*.txt")):
        about, _, text = path.read_text("utf-8").partition("\n")
        found[path.stem] = Template(about, text)
    return found
