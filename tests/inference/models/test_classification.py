"""The classification extension. The expected texts are the answers of Triton 2.51 to the same requests."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc.aio as triton
import tritonclient.http.aio as triton_http
from tritonclient.utils import InferenceServerException

from inferencehub.core.values.tensors import unpack_bytes
from inferencehub.inference.models.classification import read_labels, top_classes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.support.arrays import from_array
from tests.hub import running_hub, write_model
from tests.inference.pod_processes import calling_pod

CONFIG = """backend: "python"
max_batch_size: %d
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] label_filename: "labels.txt" }
output { name: "i" data_type: TYPE_INT32 dims: [ -1 ] }
output { name: "d" data_type: TYPE_FP64 dims: [ -1 ] }
output { name: "name" data_type: TYPE_STRING dims: [ -1 ] }"""
ECHO = """
import numpy as np
import numpy.typing as npt

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        x = inputs["x"]
        return {"y": x, "i": x.astype(np.int32), "d": x.astype(np.float64), "name": x.astype(str).astype(object)}
"""
ROWS = np.array([[0.1, 0.5, 0.5], [7, -1e9, 3]], dtype=np.float32)
OF_Y = [["0.500000:1:dog", "0.500000:2"], ["7.000000:0:cat", "3.000000:2"]]
OF_I = [["0:0", "0:1", "0:2"], ["7:0", "3:2", "-1000000000:1"]]
OF_D = [["0.500000:1", "0.500000:2", "0.100000:0"], ["7.000000:0", "3.000000:2", "-1000000000.000000:1"]]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model that batches and one that does not, with labels for the first two classes of `y`."""
    for name, batch in (("echo", 8), ("flat", 0)):
        write_model(tmp_path, name, CONFIG % batch, {"1/model.py": ECHO, "labels.txt": "cat\ndog\n"})
    return tmp_path


def x_of(module: Any, values: npt.NDArray[np.float32]) -> Any:
    """An input `x` of a client library."""
    x = module.InferInput("x", list(values.shape), "FP32")
    x.set_data_from_numpy(values)
    return x


def texts(array: npt.NDArray[Any]) -> Any:
    """Nested lists of text."""
    return np.char.decode(array.astype(bytes)).tolist()


@pytest.mark.parametrize("binary", [True, False])
async def test_a_client_of_each_tier_gets_classes(models: Path, binary: bool) -> None:
    counts = {"y": 2, "i": 9, "d": 3}
    async with running_hub(models, hold_s=20.0) as hub:
        pod = f"127.0.0.1:{hub.pods[0].port}"
        async with (
            triton.InferenceServerClient(pod) as at_pod,
            triton_http.InferenceServerClient(hub.url.removeprefix("http://")) as at_gateway,
        ):
            wanted = [triton.InferRequestedOutput(name, class_count=count) for name, count in counts.items()]
            answers = [await at_pod.infer("echo", [x_of(triton, ROWS)], outputs=wanted)]
            wanted = [
                triton_http.InferRequestedOutput(name, binary_data=binary, class_count=count)
                for name, count in counts.items()
            ]
            answers.append(await at_gateway.infer("echo", [x_of(triton_http, ROWS)], outputs=wanted))
            for answer in answers:
                assert texts(answer.as_numpy("y")) == OF_Y
                assert texts(answer.as_numpy("i")) == OF_I
                assert texts(answer.as_numpy("d")) == OF_D
            plain = [
                triton_http.InferRequestedOutput("y"),
                triton_http.InferRequestedOutput("i", class_count=1),
            ]
            answer = await at_gateway.infer("flat", [x_of(triton_http, ROWS[1])], outputs=plain)
            assert answer.as_numpy("y").tolist() == ROWS[1].tolist()
            assert texts(answer.as_numpy("i")) == ["7:0"]


async def test_merged_callers_get_the_classes_that_each_asked_for(models: Path) -> None:
    async def ask(client: aiohttp.ClientSession, url: str, row: list[float], count: int) -> object:
        x = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": row}
        outputs = [{"name": "i", "parameters": {"classification": count}}]
        async with client.post(url, json={"inputs": [x], "outputs": outputs}) as answer:
            return (await answer.json())["outputs"][0]["data"]

    async with running_hub(models, hold_s=20.0) as hub:
        rows = [[float(n), float(-n), 100.0 - n] for n in range(40)]
        url = f"{hub.url}/v2/models/echo/infer"
        answers = await asyncio.gather(*[ask(hub.client, url, row, n % 3) for n, row in enumerate(rows)])
        for n, answer in enumerate(answers):
            ranked = sorted(range(3), key=lambda index: -rows[n][index])
            classes = [f"{int(rows[n][index])}:{index}" for index in ranked][: n % 3]
            assert answer == (classes if classes else rows[n])


@pytest.mark.parametrize("count", [-1, "2"])
async def test_what_cannot_be_classified_is_refused(models: Path, count: object) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        wanted = triton.InferRequestedOutput("name", class_count=1)
        with pytest.raises(InferenceServerException, match="output 'name' is BYTES, expected numbers"):
            await client.infer("echo", [x_of(triton, ROWS)], outputs=[wanted])
    async with running_hub(models, hold_s=20.0) as hub:
        x = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
        body = {"inputs": [x], "outputs": [{"name": "y", "parameters": {"classification": count}}]}
        async with hub.client.post(f"{hub.url}/v2/models/echo/infer", json=body) as answer:
            assert answer.status == 400
            assert "parameter 'classification' is" in (await answer.json())["error"]


def test_a_line_of_labels_ends_with_a_newline_only(tmp_path: Path) -> None:
    text = "a\nb\r\n\nd\x0cx\ne\u2028f\ng\n"
    (tmp_path / "labels.txt").write_text(text, "utf-8", newline="")
    labels = read_labels(parse_config(CONFIG % 0, "m"), tmp_path)
    assert labels == {"y": ["a", "b", "", "d\x0cx", "e\u2028f", "g"]}
    classes = top_classes(from_array("y", "FP32", np.arange(6, dtype=np.float32)), 6, False, labels["y"])
    assert [one.decode() for one in unpack_bytes(classes.data)] == [
        "5.000000:5:g", "4.000000:4:e\u2028f", "3.000000:3:d\x0cx", "2.000000:2", "1.000000:1:b", "0.000000:0:a"
    ]  # fmt: skip


async def test_a_missing_file_of_labels_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, "echo", CONFIG % 0, {"1/model.py": ECHO})
    async with calling_pod(tmp_path) as pod, triton.InferenceServerClient(pod.address) as client:
        index = await client.get_model_repository_index()
        assert "label_filename 'labels.txt', expected a UTF-8 text file" in index.models[0].reason


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("UINT8", [0, 255, 3], ["255:1", "3:2", "0:0"]),
        ("UINT64", [0, 2**64 - 1], [f"{2**64 - 1}:1", "0:0"]),
        ("INT64", [-(2**63), 2**63 - 1], [f"{2**63 - 1}:1", f"{-(2**63)}:0"]),
        ("FP16", [0.5, 2], ["2.000000:1", "0.500000:0"]),
        ("BF16", [0.5, 2], ["2.000000:1", "0.500000:0"]),
        ("FP32", [math.nan, -1, math.inf], ["inf:2", "-1.000000:1", "nan:0"]),
        ("FP64", [], []),
    ],
)
def test_every_datatype_is_ranked(dtype: str, values: list[float], expected: list[str]) -> None:
    tensor = from_array(
        "y", dtype, np.array(values, dtype={"U": np.uint64, "I": np.int64}.get(dtype[0], float))
    )
    classes = top_classes(tensor, 5, False, ())
    assert (classes.dtype, classes.shape) == ("BYTES", (len(expected),))
    assert [text.decode() for text in unpack_bytes(classes.data)] == expected
