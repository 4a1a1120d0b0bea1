"""Templates of models: one text file each, beside this one.

The first line says what it is. Then come the files of the model, each behind a line `=== path`:

    === 1/model.py                  the text as it is, with {name} for the model's name, {directory} for its directory
    === warmup/x as an element      the text as one element of BYTES, with its length in front
    === 1/{file} from --file that ends with .ubj,.json and begins with {
                                    the file that the user gives, called `model` with its own suffix; `and begins with` says what
                                    it is known by, where there is such a thing

In a text, {file} is the name of that copy. In a path, {name} is the model's name as Python may have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
HEAD = re.compile(
    r"^=== (\S+)( as an element| from --file)?(?: that ends with (\S+))?(?: and begins with (\S+))?$", re.MULTILINE
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # hidden and private directories are no models


class Part(NamedTuple):
    """A file of a template: its path, what kind it has, what a user's file must end and begin with, and its text."""

    path: str
    kind: str | None
    ends: str | None
    begins: str | None
    text: str


class Template(NamedTuple):
    """A template: what it is, in a few words, and its text."""

    about: str
    text: str

    @property
    def takes_file(self) -> bool:
        """Whether a part of it is a file of the user."""
        return any(part.ends for part in self._parts())

    def misfit(self, given: Path) -> str:
        """Why a file of the user cannot be that part; "" if it can."""
        [part] = [part for part in self._parts() if part.ends]
        ends, begins = (part.ends or "").split(","), part.begins or ""
        if given.suffix not in ends:
            return f"does not end with {' or '.join(ends)}"
        with given.open("rb") as file:
            return "" if file.read(len(begins)) == begins.encode() else f"does not begin with '{begins}'"

    def _parts(self) -> Iterator[Part]:
        _, *parts = HEAD.split(self.text)
        size = len(Part._fields)
        return (Part(*parts[place : place + size]) for place in range(0, len(parts), size))

    def files(self, name: str, directory: Path, given: Path | None) -> Iterator[tuple[str, bytes]]:
        """Each file's path in the model's directory, and what is in it.

        Args:
            name: of the model.
            directory: of the model, as the user's commands name it.
            given: the user's file; None if the template takes none.
        """
        file = f"model{given.suffix}" if given else ""
        filled = {"name": name, "directory": str(directory), "file": file}
        for path, kind, _, _, text in self._parts():
            content = fill(text.removeprefix("\n"), filled).encode()
            if given and kind == " from --file":
                content = given.read_bytes()
            elif kind:
                content = len(content).to_bytes(4, "little") + content
            yield fill(path, {**filled, "name": re.sub(r"\W", "_", name)}), content


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with each {name} of a value replaced by it; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def templates() -> dict[str, Template]:
    """All templates by name."""
    found = {}
    for path in sorted(HERE.glob("*.txt")):
        about, _, text = path.read_text("utf-8").partition("\n")
        found[path.stem] = Template(about, text)
    return found
