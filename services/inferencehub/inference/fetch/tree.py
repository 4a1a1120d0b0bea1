"""The checksum of a directory: what it has, whatever it is packed in.

It is the sha256 of the lines "<sha256 of the file>  <path>\\n" of all files, sorted by the bytes of their paths: what
`find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum | sha256sum` prints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def tree_sha256(files: Mapping[str, str]) -> str:
    """The checksum of a tree.

    Args:
        files: the sha256 of each file by its path, with "/" between folders; all in hexadecimal.
    """
    lines = (f"{files[path]}  {path}\n" for path in sorted(files, key=str.encode))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The checksum that a URI names for a file, or for a prefix with the files of a directory.

    Raises:
        OSError: if it cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = (file for file in path.rglob("*") if file.is_file())
    return tree_sha256({file.relative_to(path).as_posix(): sha256_of(file) for file in files})
