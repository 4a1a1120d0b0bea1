"""How tests fetch: in this process with short pauses, or as an init container does."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inferencehub.inference.fetch.repository import fetch
from inferencehub.inference.fetch.rules import Budget, Patience
from inferencehub.inference.fetch.uri import parse_uri

MODEL = {"echo/config.pbtxt": b'backend: "mock"', "echo/1/weights": bytes(range(256)) * 4000}


def sha256(content: bytes) -> str:
    """The checksum of bytes."""
    return hashlib.sha256(content).hexdigest()


def tar(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """An archive of these files; the same bytes each time, so gzip's header has no time."""
    buffer = io.BytesIO()
    zipped = mode == "w:gz"
    with tarfile.open(fileobj=buffer, mode="w" if zipped else mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0) if zipped else buffer.getvalue()


def files_of(directory: Path) -> dict[str, bytes]:
    """The files of a repository by their paths, without what says where it is from."""
    return {
        file.relative_to(directory).as_posix(): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file() and file.name != "_fetched.json"
    }


async def fetched(
    uri: str,
    into: Path,
    most_bytes: int = 2**30,
    seconds: float = 60.0,
    headers: Mapping[str, str] | None = None,
    attempts: int = 3,
    stall_s: float = 10.0,
) -> bool:
    """Fetch with short pauses; whether something was fetched."""
    patience = Patience(attempts, 0.01, 0.05, stall_s)
    budget = Budget(most_bytes, seconds)
    return await asyncio.to_thread(fetch, parse_uri(uri), into, budget, patience, headers or {})


class Ended(NamedTuple):
    """How a fetch ended: its exit code, its log, and what it printed."""

    code: int | None
    log: str
    printed: str


async def run_fetch(*arguments: str | Path, command: str = "fetch", **environ: str) -> Ended:
    """What an init container runs; `command` is `fetch`, or `refetch`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "inferencehub.inference",
        command,
        *map(str, arguments),
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, log = await process.communicate()
    return Ended(process.returncode, log.decode(), printed.decode())
