"""The streams between tiers that speak TLS: their answers, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from weakref import ref

import aiohttp
import pytest

from inferencehub.core.tls.certificate import Certificate
from inferencehub.gateway.pods.stream import PodStream
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.server import InferenceServer
from tests.hub import Process, eventually
from tests.inference.pod_processes import features
from tests.load import Load, drawn
from tests.ports import free_port
from tests.tier_tls.secure_tiers import INFERENCE, Secrets, secure_hub, secure_pod, streams_of


async def test_calls_go_over_the_streams_and_have_the_right_values(models: Path, secrets: Secrets) -> None:
    async with secure_hub(models, secrets) as hub:
        await eventually(lambda: len(streams_of(hub.pods[0])) == 2)
        for values in ([1.0], [0.5] * 3, [0.25] * 300_000):
            status, found, _ = await hub.post("/predict", {"features": values, "model_name": "quick"})
            assert (status, found["class_id"], found["confidence"]) == (200, *drawn(*values))


async def test_the_tiers_speak_tls_as_processes_too(models: Path, secrets: Secrets) -> None:
    """Their event loop is another one than that of the tests."""
    back, front = (
        {f"HUB_{name.upper()}": file for name, file in secret.tier_settings.items()}
        for secret in (secrets.inference, secrets.gateway)
    )
    more = {"HUB_MODELS": str(models), "HUB_HEALTH_PORT": str(free_port())}
    async with (
        Process("inference", **back, **more) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address, **front) as gateway,
        Load(gateway.url, workers=8) as load,
    ):
        await eventually(lambda: load.good > 300)
        assert not load.failed, load
        async with aiohttp.ClientSession() as session:
            for size in (1, 20_000, 2_000_000):
                body = {"features": [0.25] * size, "model_name": "quick"}
                async with session.post(f"{gateway.url}/predict", json=body) as answer:
                    found = await answer.json()
                    assert (found["class_id"], found["confidence"]) == drawn(*[0.25] * size)


async def test_a_stream_that_has_ended_leaves_nothing(models: Path, secrets: Secrets) -> None:
    """The collector is off: a cycle would stay for ever, once for each time that a stream is opened again."""

    async def opened(pod: InferenceServer, certificate: Certificate) -> list[ref[Any]]:
        stream = PodStream(f"127.0.0.1:{pod.servicer.streams.port}", 2**26, 5.0, certificate)
        await stream.open()
        running = asyncio.create_task(stream.run())
        message = features("quick", 1.0, id="7", hub_members='[[1, 60000000, "a"]]')
        assert (await stream.infer("7", (message.SerializeToString(),), None)).id == "7"
        running.cancel()
        await asyncio.wait([running])
        return [ref(stream), ref(stream._connection)]

    gateway = GatewaySettings(**secrets.gateway.tier_settings)
    certificate = gateway.tier_certificate(calls=INFERENCE)
    assert certificate is not None
    async with secure_pod(models, secrets) as pod:
        gc.disable()
        try:
            left = await opened(pod, certificate)
            await eventually(lambda: not any(one() for one in left))
            (stream,) = pod.servicer.streams._open or [None]
            left = [ref(stream)] if stream is not None else []
            del stream
            await eventually(lambda: not any(one() for one in left))
        finally:
            gc.enable()


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_a_stream_without_a_connection_ends_as_one_in_plain(secrets: Secrets, how: str) -> None:
    """The port may refuse, or the node may have vanished, so that nobody answers."""
    certificate = GatewaySettings(**secrets.gateway.tier_settings).tier_certificate(calls=INFERENCE)
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        if how == "refused":
            with pytest.raises(ConnectionRefusedError):
                await PodStream(address, 2**26, 30.0, certificate).open()
            return
        listening.listen(0)
        for _ in range(4):  # its queue is full, so the next connection is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        opening = asyncio.create_task(PodStream(address, 2**26, 60.0, certificate).open())
        await asyncio.sleep(0.2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_a_pod_that_is_replaced_and_lost_at_that_moment_leaves_nothing(
    models: Path, secrets: Secrets
) -> None:
    async with secure_hub(models, secrets) as hub:
        (pod,) = hub.gateway.fleet.pods.values()
        retiring = asyncio.create_task(pod.retire())
        await asyncio.sleep(0.1)
        pod.channel = None  # as after a lost connection
        await asyncio.wait_for(retiring, 30)
        assert pod.ended
