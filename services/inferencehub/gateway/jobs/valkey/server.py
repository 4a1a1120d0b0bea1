"""A connection to Valkey or Redis that runs our script. Steps that wait together are one message, and one answer.

Nothing is sent twice by itself: what was sent may have been done. So the client's own retries are off, and who asks decides.
While the server does not answer, one message at a time asks whether it is back, and all other steps fail at once: a server
that stands still would make each of them wait, and do all of them once it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.condition import Condition
from inferencehub.gateway.jobs.valkey.client import clients_of

logger = logging.getLogger(__name__)

PARTS = [
    files("inferencehub.gateway.jobs.valkey").joinpath(part).read_bytes()
    for part in ("jobs.lua", "files.lua", "quotas.lua", "wishes.lua", "batches.lua")
]
SCRIPT = b"\n".join(PARTS)
SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()
MOST_AT_ONCE = 500  # steps of a message
LARGE = 2**14  # bytes of a step
# Steps whose answers may be large. The time in which a server must answer is that of one call.
LARGE_ANSWERS = frozenset(
    ("answers", "batches", "claim", "file", "files", "listed", "result", "told", "wishes")
)
MOST_SENT = 4  # messages without an answer
UNKNOWN = "unknown"  # durability, as long as the server was not there
Step = Sequence[bytes | str | float]


class Asked(NamedTuple):
    """A step, and who waits for its result."""

    step: Step
    future: asyncio.Future[Any]


class Server:
    """See the module's text.

    Args:
        url: redis://, rediss:// with user, password, host, port and database, or those of sentinels.
        prefix: the beginning of all keys.
        authorities: file with those that sign the server's certificate, as PEM; "" for those of the system.
    """

    def __init__(self, url: str, prefix: str, authorities: str = "") -> None:
        self._prefix = prefix
        self._authorities = authorities
        self._clients = clients_of(url, MOST_SENT + 1, authorities)
        self._client = self._clients.server
        self._asked: list[Asked] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._down = False  # whether the last message had no answer
        self._in_flight = 0  # messages

    async def open(self) -> str:
        """Look whether the server is there and can be used; what it says of its durability.

        A server that is not there is no reason to end: jobs are refused until it is.

        Raises:
            BadFile: if it may throw jobs away, or if its authorities can't be read.
        """
        if self._authorities:
            try:
                ssl.create_default_context(cafile=self._authorities)
            except OSError as error:
                raise BadFile(
                    f"HUB_JOBS_CA: {self._authorities} has no authorities as PEM: {error}"
                ) from None
        try:
            found = await self._client.config_get(
                "maxmemory", "maxmemory-policy", "appendonly", "appendfsync"
            )
        except ResponseError:  # hosted ones do not tell
            return "untold"
        except RedisError as error:
            logger.warning("the store of jobs is not there yet", extra={"error": str(error)})
            return UNKNOWN
        if found["maxmemory"] != "0" and found["maxmemory-policy"] != "noeviction":
            raise BadFile(
                f"HUB_JOBS: the server's maxmemory-policy is {found['maxmemory-policy']}, expected noeviction: it would "
                "throw jobs away"
            )
        if found["appendonly"] != "yes":
            return "none"
        # A replica may take over that has not got the last jobs yet, however well the master keeps them.
        return str(found["appendfsync"]) if self._clients.sentinels is None else "replicated"

    async def condition(self) -> Condition:
        """See `Store`. It is a message of its own: what waits for the server is not held up."""
        where = self._clients.where
        try:
            seconds, microseconds = await self._client.time()
            found: dict[Any, Any] = {}
            with suppress(ResponseError):  # hosted ones do not tell
                found = await self._client.config_get("maxmemory", "maxmemory-policy", "appendonly")
            used = (await self._client.info("memory")).get("used_memory")
        except (RedisError, OSError) as error:
            raise HubError(Kind.NOT_READY, f"{where} does not answer: {error}") from None
        most = float(found.get("maxmemory", 0)) or None
        policy = found.get("maxmemory-policy", "noeviction")
        return Condition(
            where,
            evicts=policy if most and policy != "noeviction" else "",
            persists=found["appendonly"] == "yes" if found else None,
            used=used,
            most=most,
            clock=int(seconds) + int(microseconds) / 1e6,
        )

    async def close(self) -> None:
        """Wait for what was asked, and disconnect."""
        while self._sending:
            await asyncio.wait(self._sending)
        await self._clients.close()

    async def do(self, *step: bytes | str | float) -> Any:
        """Run a step of the script.

        Raises:
            HubError: NOT_READY if the server can't be reached, or fails.
        """
        if self._down and self._in_flight:
            raise unreachable(RedisError())
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append(Asked(step, future))
        if len(self._sending) < MOST_SENT:
            self._send()
        return await future

    def _send(self) -> None:
        task = asyncio.get_running_loop().create_task(self._message())
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._asked and len(self._sending) < MOST_SENT:
            self._send()

    async def _message(self) -> None:
        """Send what waits, and give results to those who asked."""
        asked, self._asked = self._asked[:MOST_AT_ONCE], self._asked[MOST_AT_ONCE:]
        if not asked:  # they have failed meanwhile
            return
        self._in_flight += 1
        try:
            results = await self._execute([one.step for one in asked])
            missing = [place for place, result in enumerate(results) if isinstance(result, NoScriptError)]
            if missing:  # a server that has begun anew; nothing of these was done
                await self._client.script_load(SCRIPT)
                again = await self._execute([asked[place].step for place in missing])
                for place, result in zip(missing, again, strict=True):
                    results[place] = result
            if any(isinstance(result, ReadOnlyError) for result in results):
                raise ReadOnlyError("the server is a master no longer")
            self._down = False
        except (RedisError, OSError) as error:
            if not self._down:  # why, which callers are not told
                logger.warning("the store of jobs does not answer", extra={"error": str(error)})
                self._down = True
            asked, self._asked = [*asked, *self._asked], []
            if isinstance(error, ReadOnlyError):  # its name may lead to the new master now
                with suppress(RedisError, OSError):
                    await self._client.connection_pool.disconnect(inuse_connections=False)
            results = [error] * len(asked)
        except Exception as error:  # else those who asked would wait for ever
            logger.exception("the store of jobs was not asked")
            results = [error] * len(asked)
        finally:
            self._in_flight -= 1
        for one, result in zip(asked, results, strict=True):
            if one.future.done():
                continue
            if isinstance(result, Exception):
                one.future.set_exception(unreachable(result))
            else:
                one.future.set_result(result)

    async def _execute(self, steps: Sequence[Step]) -> list[Any]:
        """What steps return, in their order; an error is the result of its step."""
        calls = calls_of(steps)
        results: list[Any] = [None] * len(steps)
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(
                [
                    chunk
                    for places in calls
                    for chunk in self._packed(connection, [steps[one] for one in places])
                ]
            )
            for places in calls:
                try:
                    found = await connection.read_response()
                except ResponseError as error:
                    found = [error] * len(places)
                for place, result in zip(places, found, strict=True):
                    results[place] = result
        finally:  # it has disconnected itself if an answer is missing
            await pool.release(connection)
        return results

    def _packed(self, connection: AbstractConnection, steps: Sequence[Step]) -> Sequence[bytes]:
        """A call of the script for steps of one kind, as it is sent."""
        arguments = [part for step in steps for part in (len(step) - 1, *step[1:])]
        command: tuple[Any, ...] = (b"EVALSHA", SHA, 1, self._prefix, steps[0][0], *arguments)
        if is_large(steps[0]):  # the client copies no large parts
            return connection.pack_command(*command)
        return (pack_command(command),)


def calls_of(steps: Sequence[Step]) -> list[list[int]]:
    """Which steps are one call of the script, which costs as much to begin as a step: those of one kind, if they and their answers are small."""
    calls: dict[Any, list[int]] = {}
    for place, step in enumerate(steps):
        alone = step[0] in LARGE_ANSWERS or is_large(step)
        calls.setdefault(place if alone else step[0], []).append(place)
    return list(calls.values())


def is_large(step: Step) -> bool:
    """Whether a step has so many bytes that it is sent alone: what a server takes in one call is bounded."""
    return sum([len(part) for part in step if isinstance(part, bytes)]) > LARGE


def unreachable(error: Exception) -> HubError:
    """The error for a step that has no result."""
    if isinstance(error, ResponseError) and not isinstance(error, NoScriptError | ReadOnlyError):
        logger.error("the store of jobs failed", extra={"error": str(error)})
        return HubError(Kind.NOT_READY, "the store of jobs failed; the gateway's log says why", retry_after=5)
    return HubError(Kind.NOT_READY, "the store of jobs cannot be reached", retry_after=2)
