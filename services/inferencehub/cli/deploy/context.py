"""What docker gets to build an image from: a tar archive with the Dockerfile and the models."""

from __future__ import annotations

import tarfile
from collections.abc import Set
from io import BytesIO
from pathlib import Path
from typing import IO

SKIPPED = {".git", ".venv", "__pycache__"}


def write_context(
    target: IO[bytes], dockerfile: str, directory: Path, to: Path, environments: Set[str]
) -> None:
    """Write the archive. Links are followed, and all users may read what it has: the service runs as another one than its author.

    Args:
        target: where it goes.
        dockerfile: its Dockerfile.
        directory: the models.
        to: the directory of the archive that gets them.
        environments: directories of the image that the build makes; what is there on this machine is left out.

    Raises:
        OSError: if a file cannot be read, or the target takes no more.
    """

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(entry.name).name in SKIPPED or f"/{entry.name}" in environments:
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode |= 0o755 if entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(fileobj=target, mode="w|", dereference=True) as archive:
        text = dockerfile.encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, BytesIO(text))
        archive.add(directory, to.as_posix(), filter=kept)
