"""A real Valkey with a replica, and three sentinels that make this the master when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.ports import free_port
from tests.valkey import BINARY, Valkey, running_valkey

NAME = "jobs"


class Watched:
    """Master, replica, and the ports of those that watch them."""

    def __init__(self, master: Valkey, replica: Valkey, ports: list[int]) -> None:
        self.master, self.replica, self.ports = master, replica, ports
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"redis+sentinel://{hosts}/{NAME}/0"

    async def ask(self, *command: str) -> Any:
        """The answer of the first sentinel."""
        async with Redis(port=self.ports[0], decode_responses=True) as client:
            return await client.execute_command("SENTINEL", *command)  # type: ignore[no-untyped-call]

    async def master_is(self, one: Valkey) -> None:
        """Wait until a server is the master, for the sentinels and for itself."""
        async with asyncio.timeout(60), Redis(port=one.port) as client:
            while True:
                address = await self.ask("get-master-addr-by-name", NAME)
                role: Any = await client.role()
                if str(address[1]) == str(one.port) and role[0] in (b"master", "master"):
                    return
                await asyncio.sleep(0.05)

    async def follows(self, one: Valkey) -> None:
        """Wait until a server that was the master has heard that it is none: until then it takes what is lost with it."""
        async with asyncio.timeout(60), Redis(port=one.port) as client:
            while True:
                role: Any = await client.role()
                if role[0] in (b"slave", "slave"):
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watched_valkeys(directory: Path, lost_ms: int = 1500) -> AsyncIterator[Watched]:
    """All of them, once they know each other.

    Args:
        directory: where their files go.
        lost_ms: milliseconds without an answer after which a sentinel takes a server for lost.
    """
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(running_valkey(directory / "master"))
        of = {"replicaof": f"127.0.0.1 {master.port}", "repl-diskless-sync-delay": "0"}
        replica = await stack.enter_async_context(running_valkey(directory / "replica", **of))
        ports = [free_port() for _ in range(3)]
        for port in ports:
            await stack.enter_async_context(sentinel(directory, port, master.port, lost_ms))
        made = Watched(master, replica, ports)
        async with asyncio.timeout(60):
            while True:
                if all([await knows_all(port, replica.port) for port in ports]):
                    break
                await asyncio.sleep(0.05)
        yield made


@asynccontextmanager
async def sentinel(directory: Path, port: int, master: int, lost_ms: int) -> AsyncIterator[None]:
    """A sentinel that runs."""
    folder = directory / f"sentinel-{port}"
    folder.mkdir(parents=True)
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        "logfile sentinel.log",
        f"sentinel monitor {NAME} 127.0.0.1 {master} 2",
        f"sentinel down-after-milliseconds {NAME} {lost_ms}",
        f"sentinel failover-timeout {NAME} 5000",
    ]
    file = folder / "sentinel.conf"
    file.write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(BINARY, str(file), "--sentinel")
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def knows_all(port: int, replica: int) -> bool:
    """Whether a sentinel knows the two others, and a replica that has all of the master."""
    async with Redis(port=port, decode_responses=True) as client, Redis(port=replica) as copy:
        try:
            masters: Any = await client.sentinel_masters()
            state: Any = await copy.info("replication")
        except (RedisError, OSError):
            return False
    found = masters[NAME]
    linked = state.get("master_link_status") == "up"
    return bool(linked and found["num-other-sentinels"] == 2 and found["num-slaves"] == 1)
