"""Pod probes: pods behind a load balancer (here a plain TCP forwarder) answer with their addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from inferencehub.gateway.pods.pod_probe import pod_address
from tests.hub import eventually, mock_model, running_gateway, running_pod


@asynccontextmanager
async def balancer(ports: list[int]) -> AsyncIterator[int]:
    """The port of a forwarder that gives each new connection to the next of `ports`."""
    chosen = cycle(range(1000))

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", ports[next(chosen) % len(ports)])
        await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_pods_behind_a_balancer_are_found_whatever_dns_says(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as first, running_pod(tmp_path) as second:
        ports = [first.ops.port]
        async with balancer(ports) as port:
            unknown = ("no-such-name.invalid:50051",)
            async with running_gateway(unknown, roll_call=(f"127.0.0.1:{port}",)) as gateway:
                await eventually(lambda: set(gateway.fleet.pods) == {f"127.0.0.1:{first.port}"})
                await eventually(lambda: gateway.fleet.ready)
                ports.append(second.ops.port)
                await eventually(lambda: len(gateway.fleet.pods) == 2)


async def test_a_balancer_without_pods_is_asked_again(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as pod:
        ports = [1]
        async with (
            balancer(ports) as port,
            running_gateway(("127.0.0.1:1",), roll_call=(f"127.0.0.1:{port}",)) as gateway,
        ):
            await asyncio.sleep(0.5)
            assert not gateway.fleet.ready
            ports[0] = pod.ops.port
            await eventually(lambda: gateway.fleet.ready)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 404 Not Found\r\n\r\n1.2.3.4:5",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"\xff",
    ],
)
def test_what_is_no_address_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        pod_address(answer)


def test_an_address_is_read() -> None:
    assert (
        pod_address(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n[fd00::7]:50051")
        == "[fd00::7]:50051"
    )
