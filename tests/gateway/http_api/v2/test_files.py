"""Bodies that are no JSON: a file as a model's only input, and forms with a field for each input."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.hub import Hub, running_hub, write_model

SIZES = """
import numpy as np


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        image = inputs["image"]
        sizes = np.array([[sum(element) % 251, len(element)] for element in image.reshape(-1)], dtype=np.int64)
        scale = inputs.get("scale", np.ones((len(sizes), 1), np.float32))
        return {"sizes": sizes * scale.astype(np.int64)[:, :1]}
"""
BATCHES = """backend: "python" max_batch_size: 4
input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "scale" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
output { name: "sizes" data_type: TYPE_INT64 dims: [ 2 ] }"""
ADDS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"sum": inputs["a"] + inputs["b"]}
"""
SUMS = """backend: "python"
input { name: "a" data_type: TYPE_FP32 dims: [ 3 ] }
input { name: "b" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "sum" data_type: TYPE_FP32 dims: [ 3 ] }"""
PICTURE = bytes(range(256)) * 40
FIELD = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
FORM = "multipart/form-data; boundary=b"


def told(data: bytes, scale: int = 1) -> list[int]:
    """What the model says of a file."""
    return [sum(data) % 251 * scale, len(data) * scale]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    write_model(models, "sizes", BATCHES, {"1/model.py": SIZES})
    write_model(models, "sums", SUMS, {"1/model.py": ADDS})
    async with running_hub(models, max_body_bytes=20_000_000) as hub:
        yield hub


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """A body in two chunks."""
    yield body[: len(body) // 2]
    await asyncio.sleep(0.01)  # the first one is read alone
    yield body[len(body) // 2 :]


async def post(hub: Hub, model: str, body: Any, kind: str | None = None) -> tuple[int, Any]:
    """Status, and the data of the only output or the error."""
    headers = {} if kind is None else {"content-type": kind}
    url = f"{hub.url}/v2/models/{model}/infer"
    async with hub.client.post(url, data=body, headers=headers) as answer:
        said = await answer.json(content_type=None)
        return answer.status, said["outputs"][0]["data"] if answer.status == 200 else said["error"]


@pytest.mark.parametrize(
    "kind", ["image/png", "Image/JPEG", "audio/wav", "video/mp4", "application/octet-stream"]
)
async def test_a_file_is_the_only_input(hub: Hub, kind: str) -> None:
    assert await post(hub, "sizes", PICTURE, kind) == (200, told(PICTURE))
    large = random.Random(1).randbytes(3_000_000)
    assert await post(hub, "sizes", large, kind) == (200, told(large))
    assert await post(hub, "sizes", b"", kind) == (200, [0, 0])


async def test_json_may_be_called_a_stream_of_bytes(hub: Hub) -> None:
    body = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1,1],"data":["ab"]}]}'
    for kind in ("application/octet-stream", "text/plain", "application/x-www-form-urlencoded"):
        assert await post(hub, "sizes", body, kind) == (200, told(b"ab"))
        assert await post(hub, "sizes", b"\n" + body + b"\r\n", kind) == (200, told(b"ab"))


async def test_a_form_has_a_field_for_each_input(hub: Hub) -> None:
    form = aiohttp.FormData()
    form.add_field("image", PICTURE, filename="a.png", content_type="image/png")
    form.add_field("scale", "3")
    assert await post(hub, "sizes", form) == (200, told(PICTURE, 3))
    large = random.Random(2).randbytes(3_000_000)
    for data in (b"x", PICTURE, large):  # they come whole, in pieces, and in chunks
        whole = FIELD % (b"image", data) + b"--b--"
        for body in (whole, chunks(whole)):
            assert await post(hub, "sizes", body, FORM) == (200, told(data))
    texts = aiohttp.FormData()
    texts.add_field("image", "größer")
    texts.add_field("image", b"\xff\x00", filename="b")
    assert await post(hub, "sizes", texts) == (200, told("größer".encode()) + told(b"\xff\x00"))
    sums = aiohttp.FormData({"a": "[1, 2.5, -3]", "b": "[1e3, 0.5, 3]"})
    writer = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in (("a", "[1, 2.5, -3]"), ("b", "[1e3, 0.5, 3]")):
        writer.add_field(name, value)
    assert await post(hub, "sums", writer) == (200, [1001.0, 3.0, 0.0])
    status, said = await post(hub, "sums", sums)
    assert (status, "expected" in said) == (400, True), "a form that is encoded as a URL is none"


async def test_curl_sends_a_file(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    command = ["curl", "-sS", "-F", f"image=@{tmp_path / 'a.jpg'}", f"{hub.url}/v2/models/sizes/infer"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert f'"data":{told(PICTURE)}'.replace(" ", "") in done.stdout


async def test_a_file_without_its_content_type_is_refused_with_the_way_to_send_it(
    hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + PICTURE)
    asked = ["curl", "-sS", "--data-binary", f"@{tmp_path / 'a.jpg'}", f"{hub.url}/v2/models/sizes/infer"]
    done = await asyncio.to_thread(subprocess.run, asked, capture_output=True, text=True, timeout=30)
    hint = (
        "it came as application/x-www-form-urlencoded; to send a file, say what it is (curl -H 'Content-Type: image/jpeg' "
        "--data-binary @x.jpg) or send a form (curl -F image=@x.jpg)"
    )
    assert hint in done.stdout
    for option, value in re.findall(r"curl (-H|-F) ('.*?'|image=@x.jpg)", hint):
        said = value.strip("'").replace("x.jpg", str(tmp_path / "a.jpg"))
        command = [*asked[:2], option, said, *(asked[2:] if option == "-H" else asked[4:])]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
        assert '"outputs"' in done.stdout, (command, done)
    status, sentence = await post(hub, "sizes", random.Random(3).randbytes(3_000_000), "text/plain")
    assert (status, "it came as text/plain; to send a file" in sentence) == (400, True)
    url = f"{hub.url}/v2/models/sizes/infer"
    async with hub.client.post(url, data=PICTURE, skip_auto_headers=["Content-Type"]) as answer:
        assert "it came without a content type; to send" in await answer.text()


@pytest.mark.parametrize(
    ("model", "body"), [("sizes", b' {"inputs":'), ("sizes", b""), ("sums", PICTURE), ("none", PICTURE)]
)
async def test_what_is_json_or_for_another_model_gets_no_hint(hub: Hub, model: str, body: bytes) -> None:
    status, sentence = await post(hub, model, body, "text/plain")
    assert (status, "file" in sentence) == (400, False)


@pytest.mark.parametrize(
    ("model", "body", "kind", "sentence"),
    [
        ("sums", PICTURE, "image/png", "model 'sums' takes 'a' FP32, 'b' FP32, expected one input of BYTES for a body"),
        ("sizes", FIELD % (b"picture", b"x") + b"--b--", FORM, "model 'sizes' has no input 'picture' for this field"),
        ("sizes", FIELD % (b"scale", b"1") + b"--b--", FORM, "model 'sizes': input 'image' is missing"),
        ("sums", FIELD % (b"a", b"[1,2]") + FIELD % (b"b", b"[1,2,3]") + b"--b--", FORM, "has shape [2], expected [3]"),
        ("sums", FIELD % (b"a", b"one") + FIELD % (b"b", b"[1,2,3]") + b"--b--", FORM, "field 'a' of the form: expected a number or an array of numbers, in JSON, got 'one'"),
        ("sizes", FIELD % (b"image", b"x"), FORM, "the body is no form"),
        ("sizes", b"{}", "multipart/form-data", "expected a form (multipart/form-data with a boundary)"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said(hub: Hub, model: str, body: bytes, kind: str, sentence: str) -> None:
    status, said = await post(hub, model, body, kind)
    assert (status, sentence in said) == (400, True), said


async def test_a_job_keeps_what_its_body_is(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "sizes", BATCHES, {"1/model.py": SIZES})
    later = {"prefer": "respond-async", "content-type": "image/png"}
    async with running_hub(tmp_path / "models", jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        status, job, _ = await hub.post("/v2/models/sizes/infer", PICTURE, headers=later)
        assert status == 202, job
        _, said, _ = await hub.get(f"/v2/jobs/{job['id']}/result?wait=20")
        assert said["outputs"][0]["data"] == told(PICTURE)
