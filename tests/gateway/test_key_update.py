"""A TLS 1.3 client that changes its keys while a request waits: no byte of the request is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack

import pytest

from tests.authority import Authority
from tests.gateway.raw import request
from tests.hub import Hub, eventually, mock_model, running_hub, write_model

ECHO = """class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
ECHOES = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }"""
NUMBERS = [number / 4 for number in range(2000)]
SLOW = json.dumps({"features": [1.0], "model_name": "slow"}).encode()
CHANGE_KEYS = b"K\n"  # a command of s_client, if it comes alone


@asynccontextmanager
async def s_client(hub: Hub, authority: Authority) -> AsyncIterator[asyncio.subprocess.Process]:
    """OpenSSL's client: Python's ssl can't change keys."""
    command = (
        "openssl",
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-tls1_3",
        "-CAfile",
        str(authority.certificate),
    )
    where = ("-connect", f"127.0.0.1:{hub.gateway.port}")
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, *where, stdin=pipe, stdout=pipe, stderr=nothing)
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def answer(process: asyncio.subprocess.Process) -> bytes:
    """The body of the next answer, which has a length."""
    assert process.stdout is not None
    head = await process.stdout.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    (length,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return await process.stdout.readexactly(int(length.partition(b":")[2]))


@pytest.mark.parametrize("changes", [False, True])
async def test_no_byte_of_a_body_is_lost_where_keys_change(tmp_path: Path, changes: bool) -> None:
    authority = Authority(tmp_path, "authority")
    chain, key = authority.signed("gateway")
    mock_model(tmp_path / "models", "slow", delay_ms=1500)
    write_model(tmp_path / "models", "echo", ECHOES, {"1/model.py": ECHO})
    shown = running_hub(tmp_path / "models", tls_cert=str(chain), tls_key=str(key))
    async with shown as hub, s_client(hub, authority) as process:
        assert process.stdin is not None
        size = 4 * len(NUMBERS)
        tensor = {"name": "x", "datatype": "FP32", "shape": [len(NUMBERS)]}
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
        whole = request(
            "POST", "/v2/models/echo/infer", head + pack(f"<{len(NUMBERS)}f", *NUMBERS),
            f"inference-header-content-length: {len(head)}",
        )  # fmt: skip
        # The head of the second request waits for the answer to the first one, and its body is not there yet.
        process.stdin.write(request("POST", "/predict", SLOW) + whole[:-size])
        await process.stdin.drain()
        await eventually(lambda: hub.gateway.metrics.in_flight == 1)
        await asyncio.sleep(0.2)  # s_client takes a command only from a read of its own
        if changes:
            process.stdin.write(CHANGE_KEYS)
            await process.stdin.drain()
        await answer(process)
        process.stdin.write(whole[-size:])
        assert json.loads(await answer(process))["outputs"][0]["data"] == NUMBERS
