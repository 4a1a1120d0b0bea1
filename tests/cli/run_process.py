"""`inferencehub run` as a process with ports of its own, and what it writes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hub import MODELS, ROOT
from tests.ports import free_ports
from tests.processes import children, command

READY_S = 60
READY = r"InferenceHub is ready"
NOISE = ("Traceback", "KeyboardInterrupt", "never retrieved", "was destroyed", "never awaited")


@dataclass
class Run:
    """A running `inferencehub run`: the process, its ports, and the lines that it has written so far."""

    process: asyncio.subprocess.Process
    gateway: int
    ports: list[int]
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.gateway}"

    async def until(self, pattern: str) -> re.Match[str]:
        """The next line that a pattern matches."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it ended before {pattern!r}:\n{''.join(self.lines)}")

    async def end(self) -> int:
        """Wait for the end of all processes; the exit code. Nothing that it wrote is a traceback."""
        assert self.process.stderr is not None
        # All tiers hold this pipe: it ends when they have ended.
        self.lines.append((await self.process.stderr.read()).decode())
        text = "".join(self.lines)
        assert not [noise for noise in NOISE if noise in text], text
        return await self.process.wait()

    def children(self, module: str) -> list[int]:
        """The process ids of a tier."""
        return [child for child in children(self.process.pid) if f"inferencehub.{module}" in command(child)]


@asynccontextmanager
async def running(
    models: Path = MODELS,
    pods: int = 1,
    more: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> AsyncIterator[Run]:
    """`python -m inferencehub run` with ports of its own, ended where it still runs; `arguments` are those of `run`."""
    ports = free_ports(3 + 2 * pods)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environ |= {"PYTHONPATH": str(ROOT / "services"), "HUB_MODELS": str(models), "PODS": str(pods)}
    environ |= {"PORT": str(ports[0]), "HUB_GRPC_PORT": str(ports[-1]), "HUB_OPS_PORT": str(ports[1])}
    environ |= {"INFERENCE_PORT": str(ports[2]), "INFERENCE_OPS_PORT": str(ports[2 + pods]), **(more or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub", *(("run", *arguments) if arguments else ()), env=environ, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, limit=2**20,
    )  # fmt: skip
    try:
        yield Run(process, ports[0], ports)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
