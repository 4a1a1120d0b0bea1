"""Bytes that are no text, in the JSON of /v2: objects with base64, and the content type of MLServer."""

import json
from base64 import b64encode

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.gateway.json_codec.request_json import decode_infer


def test_bytes_may_come_in_base64() -> None:
    texts = ["größer", "", "\x00"]
    files = [b"\xff\x00\xfe", b"", b"GIF89a"]
    coded = [b64encode(file).decode() for file in files]
    x = {"name": "x", "shape": [3, 1], "datatype": "BYTES"}
    marked = {**x, "data": coded, "parameters": {"content_type": "base64"}}
    nested = {**x, "data": [[{"b64": text}] for text in coded]}
    flat = {**x, "data": [{"b64": coded[0]}, texts[0], {"b64": coded[2]}]}
    for given, elements in (
        (marked, files),
        (nested, files),
        (flat, [files[0], texts[0].encode(), files[2]]),
        ({**x, "data": texts, "parameters": {"content_type": "str"}}, [text.encode() for text in texts]),
    ):
        asked, _ = decode_infer(json.dumps({"inputs": [given]}).encode(), "m", "")
        assert asked.inputs[0] == Tensor("x", "BYTES", (3, 1), pack_bytes(elements))


@pytest.mark.parametrize(
    ("data", "parameters", "why"),
    [
        (["AAA"], {"content_type": "base64"}, "parameter 'content_type' is base64, and an element is none"),
        ([{"b64": "AAA"}], {}, "expected a text or an object with base64 in 'b64', got {'b64': 'AAA'}"),
        ([{"b64": 1}], {}, "expected a text or an object with base64 in 'b64', got {'b64': 1}"),
        ([{"b64": "AAAA"}, 3], {}, "shape [1] needs 1 elements, got 2|expected a text or an object"),
    ],
)
def test_what_is_no_base64_is_refused(data: object, parameters: object, why: str) -> None:
    x = {"name": "x", "shape": [1], "datatype": "BYTES", "data": data, "parameters": parameters}
    with pytest.raises(HubError) as refused:
        decode_infer(json.dumps({"inputs": [x]}).encode(), "m", "")
    assert any(one in refused.value.detail for one in why.split("|"))
