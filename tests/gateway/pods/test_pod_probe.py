"""Pod probes: pods behind a load balancer (here a plain TCP forwarder) answer with their addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from inferencehub.gateway.pods.pod_probe import Met, met_pod
from inferencehub.inference.grpc_api.health import OPEN
from inferencehub.inference.server import InferenceServer
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


class Only:
    """Answers pod probes with the address of the only pod; `heads` are the questions."""

    def __init__(self, pod: InferenceServer) -> None:
        self.address = f"127.0.0.1:{pod.port}"
        self.heads: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 200 OK\r\nx-only-pod: yes\r\n\r\n{self.address}".encode())
        writer.close()

    @property
    def told(self) -> bool:
        """Whether the gateway has said last that all calls go to the pod."""
        return f"\r\nx-calls-go-to: {self.address}\r\n".encode() in self.heads[-1]


async def test_the_only_pod_takes_the_place_of_the_one_before_when_it_accepts_work(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as first, running_pod(tmp_path) as second:
        only = Only(first)
        async with (
            await asyncio.start_server(only.answer, "127.0.0.1", 0) as server,
            running_gateway((), roll_call=(f"127.0.0.1:{port_of(server)}",)) as gateway,
        ):
            fleet = gateway.fleet
            await eventually(lambda: fleet.ready and only.told)
            second.health.set({OPEN: False})  # it can be reached, and accepts no work
            asked, only.address = len(only.heads), f"127.0.0.1:{second.port}"
            await eventually(lambda: len(only.heads) > asked)
            await asyncio.sleep(0.5)  # a gateway connects within this time
            assert [pod.address for pod in fleet.pods.values() if pod.up] == [f"127.0.0.1:{first.port}"]
            assert not only.told
            second.health.set({OPEN: True})
            await eventually(lambda: only.told)
            assert [pod.address for pod in fleet.pods.values() if pod.up] == [only.address]
            await eventually(lambda: [*fleet.pods] == [only.address])


def port_of(server: asyncio.Server) -> int:
    """The port that a server listens on."""
    return int(server.sockets[0].getsockname()[1])


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
        met_pod(answer)


def test_an_address_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain"
    assert met_pod(head + b"\r\n\r\n[fd00::7]:50051") == Met("[fd00::7]:50051", only=False)
    assert met_pod(head + b"\r\nX-Only-Pod: yes\r\n\r\n[fd00::7]:50051") == Met("[fd00::7]:50051", only=True)
