"""Strings of ONNX models: text goes in and comes out as it is, and what is no text is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.values.tensors import pack_bytes, unpack_bytes
from tests.hub import running_hub, write_model
from tests.onnx_files import INT64, STRING, node, one_node, tensor_type
from tests.onnx_files import model as onnx_model


def identity(repository: Path, dims: list[int | str], config: str = "") -> None:
    kind = tensor_type(STRING, dims)
    write_model(repository, "echo", config, {"1/model.onnx": one_node("Identity", {"x": kind}, kind)})


def body(shape: list[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "BYTES", "shape": shape, "data": data}]}


def binary(shape: list[int], elements: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """A request with raw elements, and its headers."""
    raw = pack_bytes(elements)
    head = (
        f'{{"inputs": [{{"name": "x", "datatype": "BYTES", "shape": {shape}, '
        f'"parameters": {{"binary_data_size": {len(raw)}}}}}], "parameters": {{"binary_data_output": true}}}}'
    ).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


@pytest.mark.parametrize(
    ("dims", "shape", "texts"),
    [
        (["n"], [2], ["abc", "żółw"]),
        (["n"], [0], []),
        (["n"], [3], ["", "a\0b", "tail\0\0"]),
        (["n", "m"], [2, 2], ["\N{GRINNING FACE}", "b'x'", "\x7f", " "]),
        ([], [], ["one"]),
    ],
)
async def test_text_goes_through_unchanged(
    tmp_path: Path, dims: list[int | str], shape: list[int], texts: list[str]
) -> None:
    identity(tmp_path, dims)
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/v2/models/echo/infer", body(shape, texts))
        (output,) = answer["outputs"]
        assert (status, output["datatype"], output["shape"], output["data"]) == (200, "BYTES", shape, texts)
        raw, headers = binary(shape, [text.encode() for text in texts])
        async with hub.client.post(f"{hub.url}/v2/models/echo/infer", data=raw, headers=headers) as reply:
            content = await reply.read()
            start = int(reply.headers.get("Inference-Header-Content-Length", len(content)))
        assert [item.decode() for item in unpack_bytes(content[start:])] == texts


@pytest.mark.parametrize(
    ("shape", "elements", "place", "what"),
    [
        ([2], [b"fine", b"\xff\xfe"], "[1]", r"b'\xff\xfe'"),
        ([2, 2], [b"", b"a", b"\xed\xa0\x80", b"\xff"], "[1, 0]", r"b'\xed\xa0\x80'"),
        ([], [b"\xc5"], "[]", r"b'\xc5'"),
    ],
)
async def test_bytes_that_are_no_text_are_refused_by_place(
    tmp_path: Path, shape: list[int], elements: list[bytes], place: str, what: str
) -> None:
    identity(tmp_path, [f"d{index}" for index in range(len(shape))])
    async with running_hub(tmp_path) as hub:
        raw, headers = binary(shape, elements)
        status, answer, _ = await hub.post("/v2/models/echo/infer", raw, headers=headers)
    assert (status, answer) == (
        400,
        {"error": f"model 'echo': element {place} of input 'x' is {what}, expected text in UTF-8"},
    )


async def test_a_text_that_becomes_a_number_is_read_as_text(tmp_path: Path) -> None:
    content = onnx_model(
        [node("Cast", ["x"], ["y"], to=INT64)],
        {"x": tensor_type(STRING, ["n"])},
        {"y": tensor_type(INT64, ["n"])},
    )
    write_model(tmp_path, "echo", "max_batch_size: 4", {"1/model.onnx": content})
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/v2/models/echo/infer", body([2], ["7", "-12"]))
    assert (status, answer["outputs"][0]["data"]) == (200, [7, -12])


async def test_one_caller_s_bytes_do_not_fail_another_caller_s_text(tmp_path: Path) -> None:
    """They merge into one run, which fails and is run apart."""
    identity(tmp_path, ["n"], "max_batch_size: 8")
    async with running_hub(tmp_path) as hub:
        raw, headers = binary([1], [b"\xff"])
        good = [hub.post("/v2/models/echo/infer", body([1], [str(number)])) for number in range(6)]
        bad = hub.post("/v2/models/echo/infer", raw, headers=headers)
        answers = await asyncio.gather(*good[:3], bad, *good[3:])
    assert [status for status, _, _ in answers] == [200, 200, 200, 400, 200, 200, 200]
    assert "element [0]" in answers[3][1]["error"]
    assert [answer["outputs"][0]["data"] for status, answer, _ in answers if status == 200] == [
        [str(number)] for number in range(6)
    ]
