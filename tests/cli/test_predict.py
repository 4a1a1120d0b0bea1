"""`inferencehub predict`: every kind of file gets to the model as it is meant, through both tiers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from inferencehub.cli.client import Caller
from inferencehub.cli.new.template import templates
from inferencehub.cli.predict import BadFile, asked, outputs_of, parts_of
from inferencehub.core.auth.key_file import digest, new_key
from tests.cli.test_command import say_here
from tests.gateway.routing.traffic.versions import split_hub
from tests.hub import MODELS, running_hub, write_model

LENGTH = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"size": np.array([[len(one)] for one in inputs["file"].ravel()], dtype=np.int64)}
"""
LENGTH_CONFIG = """backend: "python" max_batch_size: 4
    input { name: "file" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "size" data_type: TYPE_INT64 dims: [ 1 ] }"""
COUNT = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        for number in range(3):
            yield {"text": [str(number)]}
        if inputs["prompt"][0] == b"break":
            raise RuntimeError("broken on purpose")
"""
COUNT_CONFIG = """backend: "python" model_transaction_policy { decoupled: true }
    input { name: "prompt" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }"""
RGB: dict[str, Any] = {"name": "rgb", "datatype": "FP32", "shape": [1, 3], "data": [250, 10, 10]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The samples that a call may choose from, and two models that tell what they got."""
    for name in ("nearest-colour", "sentiment"):
        (tmp_path / name).symlink_to(MODELS / name)
    write_model(tmp_path, "length", LENGTH_CONFIG, {"1/model.py": LENGTH})
    write_model(tmp_path, "count", COUNT_CONFIG, {"1/model.py": COUNT})
    return tmp_path


async def test_each_kind_of_file_is_the_input_that_it_looks_like(models: Path) -> None:
    async with running_hub(models) as hub:
        who = Caller(hub.url, "", None)

        async def said(model: str, content: bytes, raw: bool = False) -> list[dict[str, Any]]:
            return parts_of(await asked(who, f"/v2/models/{model}", content, raw))

        for body in ([250, 10, 10], [[250, 10, 10]], {"rgb": [250, 10, 10]}):
            [named] = await said("nearest-colour", json.dumps(body).encode())
            assert named["label"] == "red"
        [infer] = await said("nearest-colour", json.dumps({"inputs": [RGB]}).encode())
        assert infer["outputs"][1]["data"] == ["red"]
        assert outputs_of(infer)[1] == 'label BYTES [1, 1]: ["red"]'
        [text] = await said("sentiment", b"I love this")
        assert text["outputs"][2]["data"] == ["positive"]
        picture = bytes(range(256)) * 40
        for content, raw in ((picture, False), (b"[1, 2]", True)):
            [size] = await said("length", content, raw)
            assert size["outputs"][0]["data"] == [len(content)]
        assert [one["text"] for one in await said("count", b"go on")] == ["0", "1", "2"]
        with pytest.raises(BadFile, match="the model takes 'rgb' FP32"):
            await said("nearest-colour", b"red")


async def test_a_chat_takes_messages_as_under_openai_s_api_and_a_text(tmp_path: Path) -> None:
    for path, content in templates()["chat"].files("chat", tmp_path / "chat", None):
        (tmp_path / "chat" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chat" / path).write_bytes(content)
    messages = [{"role": "user", "content": "good day"}]
    asked_with = (
        {"messages": messages, "parameters": {}},
        {"messages": json.dumps(messages)},
        {"messages": [json.dumps(messages)]},
        messages,
    )
    async with running_hub(tmp_path) as hub:
        for content in (*(json.dumps(one).encode() for one in asked_with), b"good day"):
            answer = await asked(Caller(hub.url, "", None), "/v2/models/chat", content, False)
            assert "".join(part["text"] for part in parts_of(answer)) == "You said: good day", content
        with pytest.raises(BadFile, match="expected the messages of a chat"):
            await asked(Caller(hub.url, "", None), "/v2/models/chat", b"\xff", False)


@pytest.mark.long
async def test_exit_codes_and_sentences(models: Path) -> None:
    key = new_key("me")
    (models / "_keys.json").write_text(
        json.dumps({"keys": [{"id": "me", "sha256": digest(key.encode()).hex()}]})
    )
    async with running_hub(models, api_keys=str(models / "_keys.json")) as hub:

        async def say(model: str, content: str, *more: str, **environ: str) -> tuple[int, str, str]:
            file = models / "_file"
            file.write_text(content)
            arguments = ("predict", model, str(file), "--url", hub.url, *more)
            return await asyncio.to_thread(say_here, *arguments, INFERENCEHUB_API_KEY=key, **environ)

        code, out, err = await say("nearest-colour", "[250, 10, 10]")
        assert (code, out.splitlines()[1], err) == (0, 'label: "red"', "")
        code, out, err = await say("count", "break", "--json")
        assert (code, out.count("data: ")) == (1, 4)
        assert err.startswith("inferencehub: model 'count' failed on this request")
        code, out, err = await say("nearest", "[1]")
        assert (code, out) == (1, "")
        assert err.startswith("inferencehub: model 'nearest' is unknown, expected one of: count")
        (models / "_key").write_text("hub_wrong")
        code, _, err = await say("length", "1", "--key-file", str(models / "_key"))
        assert (code, "inferencehub: " in err) == (1, True)
        code, _, err = await say("length", "1", "--url", "http://127.0.0.1:1")
        assert (code, "http://127.0.0.1:1 gives no answer: " in err) == (2, True)
        code, _, err = await say("length", "1", "--url", "localhost")
        assert (code, "expected http://host:port" in err) == (2, True)


async def test_the_help_says_which_version_answers(tmp_path: Path) -> None:
    """Also where a file of traffic has weights: then it is not always the newest."""
    async with split_hub(tmp_path, {"weights": {"1": 1, "2": 0}}) as hub:
        answer = await asked(Caller(hub.url, "", None), "/v2/models/m", b"[1.0]", raw=False)
    assert answer.json()["model_version"] == "1"
    _, text, _ = say_here("predict", "--help")
    assert "by the weights of its traffic, else the newest" in " ".join(text.split())
