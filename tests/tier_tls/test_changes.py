"""Changes of the certificates between the tiers: new ones cost no request, and a withdrawn authority is out."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.authority import Authority, client
from tests.hub import eventually, running_gateway
from tests.inference.pod_processes import features, infer_of
from tests.load import Load
from tests.tier_tls.secure_tiers import (
    GATEWAY,
    INFERENCE,
    Secrets,
    secure_channel,
    secure_hub,
    secure_pod,
    streams_of,
)


@pytest.mark.long
async def test_new_certificates_cost_no_request(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    """First others of the same authority, then those of another one: it is trusted before it signs, the old one after."""
    new = Authority(tmp_path, "new")
    steps = [(authority, (authority,)), (authority, (authority, new)), (new, (authority, new)), (new, (new,))]
    async with secure_hub(models, secrets, pods=2) as hub:
        async with Load(hub.url, workers=8) as load:
            for signer, trusted in steps:
                before = dict(hub.gateway.fleet.pods)
                streams = set().union(*map(streams_of, hub.pods))
                good = load.good
                secrets.hold(signer, *trusted)
                await eventually(
                    lambda before=before: not set(before.values()) & set(hub.gateway.fleet.pods.values())
                )
                await eventually(lambda: sum(map(len, map(streams_of, hub.pods))) == 4)
                await eventually(lambda streams=streams: all(stream.over for stream in streams))
                await eventually(lambda good=good: load.good > good + 100)
        assert not load.failed, load
        assert hub.gateway.fleet.certificate is not None
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reloads_total{setting="HUB_TIER_TLS"} 4.0' in metrics
        contents = hub.gateway.fleet.certificate.contents
        assert contents.authorities == new.certificate.read_bytes()


@pytest.mark.long
async def test_a_gateway_whose_authority_is_withdrawn_is_out(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    """By unary calls, by its streams and by a stream of gRPC, all of which it had before."""
    new = Authority(tmp_path, "new")
    async with AsyncExitStack() as stack:
        pod = await stack.enter_async_context(secure_pod(models, secrets))
        address = (f"127.0.0.1:{pod.port}",)
        gateway = await stack.enter_async_context(
            running_gateway(address, hold_s=0.0, **secrets.gateway.tier_settings)
        )
        await eventually(lambda: len(streams_of(pod)) == 2 and gateway.fleet.ready)
        shows = authority.signed(GATEWAY)
        channel = await stack.enter_async_context(secure_channel(pod, authority, shows))
        infer = infer_of(channel)
        open_stream: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        stream = open_stream()
        await stream.write(features("quick", 1.0, id="1"))
        assert (await stream.read()).infer_response.id == "1"
        await infer(features("quick", 1.0))

        secrets.inference.hold(*new.signed(INFERENCE), new)
        loop = asyncio.get_running_loop()
        withdrawn = loop.time()

        async def refused() -> None:
            while True:
                try:
                    await infer(features("quick", 1.0), timeout=20)
                except grpc.aio.AioRpcError:
                    return
                await asyncio.sleep(0.2)

        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        late = open_stream()  # the connection is from before, and still takes calls
        await late.write(features("quick", 1.0, id="2"))
        assert (await late.read()).infer_response.id == "2"
        async with asyncio.timeout(60):
            await refused()
            for each in (stream, late):
                with pytest.raises(grpc.aio.AioRpcError, match="open it again"):
                    await each.read()
        await eventually(lambda: not streams_of(pod) and not gateway.fleet.ready)
        assert loop.time() - withdrawn < 40  # 14 at rest
        secrets.gateway.hold(*new.signed(GATEWAY), new)
        await eventually(lambda: len(streams_of(pod)) == 2 and gateway.fleet.ready)


@pytest.mark.long
async def test_who_does_not_answer_pings_is_not_waited_for(
    models: Path, secrets: Secrets, authority: Authority
) -> None:
    """gRPC asks before it closes a connection for good, and takes calls until then."""
    context = client(authority.certificate.read_text(), authority.signed(GATEWAY))
    context.set_alpn_protocols(["h2"])
    async with secure_pod(models, secrets) as pod:
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", pod.port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(2**16), 90):
                pass
        assert asyncio.get_running_loop().time() - began < 40  # 8 at rest
        writer.close()


async def test_a_handshake_that_began_before_a_withdrawal_comes_to_nothing(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    new = Authority(tmp_path, "new")
    context = client(authority.certificate.read_text(), authority.signed(GATEWAY))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with secure_pod(models, secrets) as pod:
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.servicer.streams.port)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(outgoing.read())
        incoming.write(await reader.read(2**16))
        secrets.inference.hold(*new.signed(INFERENCE), new)
        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        tls.do_handshake()
        writer.write(outgoing.read())
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        assert not streams_of(pod)
        writer.close()
