"""Calls and their answers in files, through the front door of a gateway that records."""

from __future__ import annotations

import asyncio
import gzip
import stat
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec
import numpy as np
import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.http_api.recording.recorded import BODY, becomes, calls_in, counted, lines_in, reaches
from tests.gateway.keyed_hub import KEYS, bearer, hub_with_keys
from tests.gateway.python_model import hold, python_model, release, runs
from tests.hub import eventually, mock_model, running_hub
from tests.several_answers import counting_model


async def test_a_line_has_the_request_and_the_answer(tmp_path: Path) -> None:
    mock_model(tmp_path / "models")
    folder = tmp_path / "calls"
    async with running_hub(tmp_path / "models", record=str(folder), record_share=1.0) as hub:
        headers = {"X-Request-Id": "one", "Cookie": "a=b", "X-Other": "c", "X-Request-Timeout-Ms": "9000"}
        status, said, got = await hub.post("/predict?secret=d", BODY, headers=headers)
        assert status == 200
        await eventually(lambda: lines_in(folder))
        [call] = calls_in(folder)
        assert (call.id, call.method, call.path, call.status) == ("one", "POST", "/predict", 200)
        assert call.headers["content-type"] == "application/json"
        assert call.headers["x-request-timeout-ms"] == "9000"
        assert not {"cookie", "x-other", "host", "x-request-id"} & call.headers.keys()
        assert msgspec.json.decode(call.body.content()) == BODY
        assert msgspec.json.decode(call.answer.content()) == said
        assert call.server_timing == got["Server-Timing"]
        assert call.answer_headers["content-type"] == "application/json"
        assert 0 < call.seconds < 60
        [file] = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert await counted(hub) == {"written": 1}


async def test_all_kinds_of_bodies_come_back_as_they_were(tmp_path: Path) -> None:
    mock_model(tmp_path / "models", more="max_batch_size: 0")
    counting_model(tmp_path / "models")
    folder = tmp_path / "calls"
    tensor = {"name": "features", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    text = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    raw = text + np.array([-1.5, 3e38], np.float32).tobytes()
    plain = msgspec.json.encode({"model_name": "quick", "features": [float(n) for n in range(900)]})
    sent: list[tuple[str, bytes, bytes, dict[str, str]]] = [
        ("/v2/models/quick/infer", raw, raw, {"Inference-Header-Content-Length": str(len(text))}),
        ("/v2/models/counter/generate_stream", b'{"count":3,"text_input":"\\u00e4"}', b"", {}),
        ("/predict", gzip.compress(plain), plain, {"Content-Encoding": "gzip"}),
        ("/predict", b"\xff{not json", b"", {}),
        ("/v2/models/counter/generate_stream", b'{"count":3,"width":1500}', b"", {"Accept-Encoding": "gzip"}),
    ]
    got: list[tuple[int, bytes]] = []
    async with running_hub(tmp_path / "models", record=str(folder), record_share=1.0) as hub:
        for target, body, _, headers in sent:
            async with hub.client.post(hub.url + target, data=body, headers=headers) as answer:
                got.append((answer.status, await answer.read()))
        await becomes(hub, {"written": len(sent)})
    for call, (target, body, plainly, _), (status, said) in zip(calls_in(folder), sent, got, strict=True):
        assert (call.path, call.status) == (target, status)
        assert call.body.content() == (plainly or body)
        assert call.answer.content() == said
        assert "content-encoding" not in call.headers.keys() | call.answer_headers.keys()
    assert [status for status, _ in got] == [200, 200, 200, 400, 200]
    assert b'"text_output":"\xc3\xa43"' in got[1][1]
    assert calls_in(folder)[0].body.base64


async def test_a_compressed_answer_is_recorded_plain(tmp_path: Path) -> None:
    python_model(tmp_path / "models", "double", tmp_path / "log")
    folder = tmp_path / "calls"
    async with running_hub(tmp_path / "models", record=str(folder), record_share=1.0) as hub:
        x = {"name": "x", "datatype": "FP32", "shape": [3000], "data": [1.0] * 3000}
        body = {"inputs": [x]}
        async with hub.client.post(hub.url + "/v2/models/double/infer", json=body) as answer:
            plain = await answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
        await becomes(hub, {"written": 1})
        assert calls_in(folder)[0].answer.content() == plain
        x |= {"shape": [300_000], "data": [1.0] * 300_000}
        async with hub.client.post(hub.url + "/v2/models/double/infer", json={"inputs": [x]}) as answer:
            large = await answer.read()
        await becomes(hub, {"written": 2})
        kept = calls_in(folder)[1].answer
        assert (kept.sha256, kept.size, kept.content()) == (sha256(large).hexdigest(), len(large), b"")
        status, _, _ = await hub.post("/v2/models/double/infer", b"x" * (2**22 + 1))
        assert (status, await counted(hub)) == (400, {"written": 2, "large": 1})


async def test_no_credential_comes_into_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    cookie = "session-4f9c2b7a61d8"
    async with hub_with_keys(tmp_path, record=str(folder), record_share=1.0) as hub:
        key = {
            "headers": {
                **bearer("all"),
                "Cookie": f"id={cookie}",
                "Proxy-Authorization": "Basic c2VjcmV0OnNlY3JldA==",
            }
        }
        assert (await hub.post(f"/predict?key={KEYS['all']}", BODY, **key))[0] == 200
        assert (await hub.post("/predict", BODY, headers={"X-Api-Key": KEYS["all"]}))[0] == 200
        await becomes(hub, {"written": 2})
        for mine in (KEYS["all"], cookie, "c2VjcmV0OnNlY3JldA=="):
            assert (await hub.post("/predict", {**BODY, "note": mine}, **key))[0] in (200, 400)
        assert (await hub.post(f"/v2/models/{KEYS['all']}/infer", BODY, **key))[0] == 400
        status, _, _ = await hub.post(
            "/predict", BODY, headers={**bearer("all"), "Accept": f"application/json, {KEYS['all']}"}
        )
        assert status == 200
        await becomes(hub, {"written": 2, "withheld": 5})
        split = [
            *bearer("all").items(),
            ("Cookie", f"id={cookie}"),
            ("Cookie", "theme=dark"),
        ]
        said = {**BODY, "note": cookie}
        async with hub.client.post(hub.url + "/predict", json=said, headers=split) as answer:
            assert answer.status in (200, 400)
        await becomes(hub, {"written": 2, "withheld": 6})
        assert (await hub.post("/predict", BODY))[0] == 401
        assert (await hub.post("/predict", BODY, headers=bearer("old")))[0] == 401
    everything = b"".join(file.read_bytes() for file in folder.iterdir())
    assert everything.count(b"\n") == 2
    for secret in (*KEYS.values(), cookie, "c2VjcmV0"):
        assert secret.encode() not in everything


async def test_jobs_pages_and_calls_that_were_left_are_not_recorded(tmp_path: Path) -> None:
    python_model(tmp_path / "models", "double", tmp_path / "log")
    folder = tmp_path / "calls"
    settings: dict[str, Any] = {"record": str(folder), "record_share": 1.0, "jobs": "sqlite::memory:"}
    async with running_hub(tmp_path / "models", **settings) as hub:
        assert (await hub.get("/v2/models/double"))[0] == 200
        x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
        path, body = "/v2/models/double/infer", {"inputs": [x]}
        status, _, headers = await hub.post(path, body, headers={"Prefer": "respond-async"})
        assert status == 202
        assert (await hub.get(headers["Location"] + "/result?wait=30"))[0] == 200
        hold(tmp_path / "models", "double")
        left = asyncio.create_task(hub.post(path, body))
        await eventually(lambda: len(runs(tmp_path / "log")) == 2)
        left.cancel()
        await eventually(lambda: hub.gateway.metrics.http.in_flight == 0)
        release(tmp_path / "models", "double")
        assert (await hub.post(path, body))[0] == 200
        await becomes(hub, {"written": 1})
        assert hub.gateway.recording.recorder is not None
        assert hub.gateway.recording.recorder.held == 0
    assert len(lines_in(folder)) == 1


@pytest.mark.long
async def test_what_finds_no_room_is_dropped_and_answered(tmp_path: Path) -> None:
    python_model(tmp_path / "models", "double", tmp_path / "log")
    settings: dict[str, Any] = {"record": str(tmp_path / "calls"), "record_share": 1.0}
    async with running_hub(tmp_path / "models", **settings) as hub:
        hold(tmp_path / "models", "double")
        raw = bytes(4_000_000)
        tensor = {
            "name": "x",
            "datatype": "FP32",
            "shape": [10**6],
            "parameters": {"binary_data_size": len(raw)},
        }
        text = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {"Inference-Header-Content-Length": str(len(text))}

        async def ask() -> int:
            async with hub.client.post(
                hub.url + "/v2/models/double/infer", data=text + raw, headers=headers
            ) as answer:
                await answer.read()
                return answer.status

        asked = [asyncio.create_task(ask()) for _ in range(10)]  # of which eight have room
        await reaches(hub, 2, "dropped")
        release(tmp_path / "models", "double")
        assert await asyncio.gather(*asked) == [200] * 10
        recorder = hub.gateway.recording.recorder
        assert recorder is not None
        await eventually(lambda: not recorder.held)
        await reaches(hub, 10, "written", "dropped")
        assert sum((await counted(hub)).values()) == 10


async def test_only_a_share_is_recorded_and_without_a_folder_nothing(tmp_path: Path) -> None:
    mock_model(tmp_path / "models")
    async with running_hub(tmp_path / "models", record=str(tmp_path / "calls"), record_share=0.5) as hub:
        for _ in range(200):
            assert (await hub.post("/predict", BODY))[0] == 200
        await reaches(hub, 1, "written")
    assert 50 < len(lines_in(tmp_path / "calls")) < 150  # with those that waited at the end
    async with running_hub(tmp_path / "models") as hub:
        assert hub.gateway.recording.before(hub.gateway.edge) is hub.gateway.edge
        assert await counted(hub) == {}


def test_a_folder_that_can_not_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        BadFile, match=r"^HUB_RECORD: calls can't be recorded in '.*/file/calls': Not a directory; expected"
    ):
        Gateway(GatewaySettings(record=str(tmp_path / "file/calls")))


async def test_a_folder_that_goes_costs_no_call_and_may_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mock_model(tmp_path / "models")
    folder = tmp_path / "calls"
    async with running_hub(tmp_path / "models", record=str(folder), record_share=1.0) as hub:
        assert (await hub.post("/predict", BODY))[0] == 200
        await becomes(hub, {"written": 1})
        rmtree(folder)
        assert (await hub.post("/predict", BODY))[0] == 200
        await becomes(hub, {"written": 1, "failed": 1})
        assert [record.message for record in caplog.records].count("calls not recorded") == 1
        folder.mkdir()
        assert (await hub.post("/predict", BODY))[0] == 200
        await becomes(hub, {"written": 2, "failed": 1})
    assert len(calls_in(folder)) == 1
