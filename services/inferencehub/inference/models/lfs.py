"""Git LFS pointers: what a clone without `git lfs pull` has in place of large files."""

from __future__ import annotations

import os
from pathlib import Path

from inferencehub.core.files.tree import look, written

FIRST_LINE = b"version https://git-lfs.github.com/spec/"
MOST_BYTES = 1024  # a pointer is shorter (Git LFS, docs/spec.md)


def is_pointer(file: Path) -> bool:
    """Whether a file is a Git LFS pointer; False if it cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size >= MOST_BYTES:
            return False
        return file.read_bytes().startswith(FIRST_LINE)
    except OSError:
        return False


def pointer_in(directory: Path) -> str:
    """The first Git LFS pointer in a directory or below, as a path in it; "" if there is none."""
    found = (path for path in sorted(look(directory)) if is_pointer(Path(path)))
    return next((written(os.path.relpath(path, directory)) for path in found), "")


def pointer_reason(path: str) -> str:
    """Why a model with this pointer cannot be loaded."""
    return f"'{path}' is a Git LFS pointer, not the file itself: run git lfs pull where it was cloned"
