"""Templates of models: one text file each, beside this one.

The first line says what it is. Then come the files of the model, each behind a line `=== path`:

    === 1/model.py                  the text as it is, with {name} for the model's name
    === warmup/x as an element      the text as one element of BYTES, with its length in front
    === 1/model.onnx from --file    the file that the user gives
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
HEAD = re.compile(r"^=== (\S+)( as an element| from --file)?$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # hidden and private directories are no models


class Template(NamedTuple):
    """A template: what it is, in a few words, and its text."""

    about: str
    text: str

    @property
    def takes_file(self) -> bool:
        """Whether a part of it is a file of the user."""
        return " from --file" in self.text

    def files(self, name: str, given: bytes) -> Iterator[tuple[str, bytes]]:
        """Each file's path in the model's directory, and what is in it.

        Args:
            name: of the model.
            given: the user's file.
        """
        _, *parts = HEAD.split(self.text)
        for path, kind, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            content = text.removeprefix("\n").replace("{name}", name).encode()
            if kind == " from --file":
                content = given
            elif kind:
                content = len(content).to_bytes(4, "little") + content
            yield path, content


def templates() -> dict[str, Template]:
    """All templates by name."""
    found = {}
    for path in sorted(HERE.glob("*.txt")):
        about, _, text = path.read_text("utf-8").partition("\n")
        found[path.stem] = Template(about, text)
    return found
