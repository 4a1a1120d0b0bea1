"""Requests and results as stores keep them: large ones compressed, if that makes them smaller.

What is small, or does not get smaller, is kept as it is, as everything once was. So a mark tells what is not: no MessagePack
begins with this byte, which requests are, and no header line does, which the lines of a result are.

Who can write to the store can run models anyway, so what comes out of it is trusted; a size in front of it, which zlib is
held to, keeps what is damaged from becoming large.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from inferencehub.core.http1.coding.deflate import DEFLATE, deflated
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.batch import NewItem
from inferencehub.gateway.jobs.record import Claim, NewJob, Result

logger = logging.getLogger(__name__)

MARK = b"\xc1"  # MessagePack, "formats overview": never used
AS_IT_IS, DEFLATED = b"\x00", b"\x01"
SIZE = 8  # bytes of a number
MOST_TIMES = 1032  # what deflate can make of a byte
WORTH = 2**13  # bytes from which on it is tried: less takes more time than its room is worth
MOST_CLAIMED = 2**26  # bytes of requests that are unpacked for a gateway at a time
LARGE = 2**16  # bytes from which on it takes some ms, so a thread does it


async def packed_job(job: NewJob) -> NewJob:
    """A job as it is kept."""
    request = await packed(job.request)
    return job if request is job.request else replace(job, request=request)


async def packed_items(items: Iterable[NewItem]) -> list[NewItem]:
    """Items as they are kept."""
    return [one._replace(job=await packed_job(one.job)) for one in items]


async def packed_result(result: Result) -> Result:
    """A result as it is kept."""
    if result.streamed:  # it is read in parts
        return result
    body = await packed(result.body)
    return result if body is result.body else Result(result.status, MARK + result.lines, body)


def fitting(claims: Sequence[Claim]) -> int:
    """How many of the first claims have requests that fit into memory together, once unpacked; the first one always does."""
    total = 0
    for number, claim in enumerate(claims):
        total += unpacked_size(claim.request)
        if number and total > MOST_CLAIMED:
            return number
    return len(claims)


def unpacked_size(data: bytes) -> int:
    """Bytes of what was kept, once it is unpacked."""
    return int.from_bytes(data[2 : 2 + SIZE]) if data[:2] == MARK + DEFLATED else len(data)


async def unpacked_claims(claims: Iterable[Claim]) -> list[Claim]:
    """Claims with their requests. One that can't be read stays as it is: its front will not read it, and its job fails."""
    found = []
    for claim in claims:
        try:
            found.append(claim._replace(request=await unpacked(claim.request)))
        except ValueError as error:
            logger.error("a job's request is damaged", extra={"job": claim.id, "error": str(error)})
            found.append(claim)
    return found


async def unpacked_result(result: Result) -> Result:
    """A result out of what was kept.

    Raises:
        HubError: NOT_READY if it is damaged.
    """
    status, lines, body = result
    if not lines.startswith(MARK):
        return result
    try:
        return Result(status, lines[len(MARK) :], await unpacked(body))
    except ValueError as error:
        logger.error("a job's result is damaged", extra={"error": str(error)})
        text = "the store of jobs failed; the gateway's log says why"
        raise HubError(Kind.NOT_READY, text, retry_after=5) from None


async def packed(data: bytes) -> bytes:
    """Bytes as they are kept; a thread does large ones."""
    if len(data) < WORTH:
        return pack(data)
    return pack(data) if len(data) < LARGE else await asyncio.to_thread(pack, data)


async def unpacked(data: bytes) -> bytes:
    """Bytes out of what was kept; a thread does large ones.

    Raises:
        ValueError: if they are damaged.
    """
    if not data.startswith(MARK):
        return data
    large = int.from_bytes(data[2 : 2 + SIZE]) >= LARGE
    return await asyncio.to_thread(unpack, data) if large else unpack(data)


def pack(data: bytes) -> bytes:
    """Bytes as they are kept: compressed, or else the very same if they do not look as if they were."""
    parts = deflated((data,), DEFLATE) if len(data) >= WORTH else []
    if parts:
        return b"".join((MARK, DEFLATED, len(data).to_bytes(SIZE), *parts))
    return MARK + AS_IT_IS + data if data.startswith(MARK) else data


def unpack(data: bytes) -> bytes:
    """Bytes out of what was kept with a mark.

    Raises:
        ValueError: if they are damaged.
    """
    how, rest = data[1:2], memoryview(data)[2:]
    if how == AS_IT_IS:
        return bytes(rest)
    if how != DEFLATED:
        raise ValueError(f"expected it plain or deflated, got {how!r}: another release kept it")
    size, stream = int.from_bytes(rest[:SIZE]), zlib.decompressobj()
    if size > MOST_TIMES * len(rest):
        raise ValueError(f"{len(rest)} bytes do not become {size}")
    try:
        found = stream.decompress(rest[SIZE:], size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(found) != size or not stream.eof or stream.unused_data:
        raise ValueError(f"expected {size} bytes, got another number")
    return found
