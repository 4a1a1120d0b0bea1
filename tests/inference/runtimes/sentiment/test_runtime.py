"""The sentiment runtime: how much text it accepts, and how long it may take."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes, unpack_bytes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.runtime import ModelSource
from inferencehub.inference.runtimes.sentiment.runtime import SentimentRuntime
from tests.hub import MODELS
from tests.inference.runtimes.one_answer import run_once
from tests.machine import slowed

CONFIG = (MODELS / "sentiment" / "config.pbtxt").read_text()
TOO_LATE = "model 'sentiment' was not done at the request's deadline"


def sentiment(max_text_bytes: str = "") -> SentimentRuntime:
    more = f'parameters {{ key: "max_text_bytes" value {{ string_value: "{max_text_bytes}" }} }}'
    config = parse_config(CONFIG + (more if max_text_bytes else ""), "sentiment")
    return SentimentRuntime(ModelSource("sentiment", "1", Path(), Path(), config, 2))


async def labels(runtime: SentimentRuntime, *texts: bytes, seconds: float = 20) -> list[bytes]:
    tensor = Tensor("text", "BYTES", (len(texts), 1), pack_bytes(texts))
    outputs = await run_once(runtime, 0, InferRequest("sentiment", "1", (tensor,)), monotonic() + seconds)
    return unpack_bytes(outputs[2].data)


@pytest.mark.parametrize(("written", "limit"), [("", 65536), ("100", 100)])
async def test_a_text_has_a_limit_in_bytes(written: str, limit: int) -> None:
    runtime = sentiment(written)
    await runtime.load()
    try:
        assert await labels(runtime, b"good".ljust(limit), b"\xff" * limit) == [b"positive", b"neutral"]
        for too_long in (b"good".ljust(limit + 1), ("ü" * (limit // 2 + 1)).encode()):
            began = monotonic()
            with pytest.raises(HubError) as caught:
                await labels(runtime, b"good", too_long)
            assert monotonic() - began < 15
            sentence = f"text has {len(too_long)} bytes, expected at most {limit}"
            assert (caught.value.kind, caught.value.detail) == (Kind.BAD_INPUT, sentence)
    finally:
        await runtime.unload()


@pytest.mark.timing
async def test_a_run_ends_soon_after_its_deadline() -> None:
    runtime = sentiment()
    await runtime.load()
    try:
        began = monotonic()
        with pytest.raises(HubError) as caught:
            await labels(
                runtime, *[b"not good. ".ljust(65536, b"!")] * 64, *[b"not good. " * 6000] * 64, seconds=0.1
            )
        assert (caught.value.kind, caught.value.detail) == (Kind.DEADLINE, TOO_LATE)
        assert monotonic() - began < slowed(1.0)
    finally:
        await runtime.unload()


@pytest.mark.parametrize("written", ["0", "-1", "1e5", "many", " "])
def test_a_limit_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(HubError) as caught:
        sentiment(written)
    assert caught.value.detail == (
        f"config.pbtxt: max_text_bytes is '{written}', expected a whole number from 1"
    )
