"""For any bad input, callers get a status of the table and a sentence that says what was expected and what came."""

import asyncio
import gzip
import json
import re
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.gateway.server import Gateway
from tests.gateway.raw import Answer, Raw, request
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT, INFER = "/predict", "/v2/models/quick/infer"
BOTH = pytest.mark.parametrize("path", [PREDICT, INFER])
MOST = 2**20
HEAD_S, BODY_S = 0.4, 0.3
# What no caller may read: stacks, addresses, names of our classes and of our libraries.
PRIVATE = re.compile(
    r"Traceback|\.py\b|0x[0-9a-f]{6}|\d+\.\d+\.\d+\.\d+|localhost|msgspec|zlib|codec|"
    r"Error\b|Exception|\bNone\b|\bstr\b|\bdict\b|\bfloat\b|<class|object at"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    for dtype in ("FP64", "INT8", "STRING", "FP16"):
        write_model(
            models,
            dtype.lower(),
            f"""backend: "mock"
            input {{ name: "x" data_type: TYPE_{dtype} dims: [-1] }}
            output {{ name: "class_id" data_type: TYPE_INT32 dims: [1] }}
            output {{ name: "confidence" data_type: TYPE_FP32 dims: [1] }}
            parameters {{ key: "delay_ms" value {{ string_value: "0" }} }}
            parameters {{ key: "predict_class" value {{ string_value: "class_id" }} }}""",
        )
    async with running_hub(models, default_model="quick", max_body_bytes=MOST) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(hub: Hub) -> AsyncIterator[Gateway]:
    """A gateway that waits shortly for heads and bodies."""
    pods = (f"127.0.0.1:{hub.pods[0].port}",)
    async with running_gateway(
        pods, default_model="quick", header_timeout_s=HEAD_S, body_timeout_s=BODY_S
    ) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        yield gateway


def refused(path: str, answer: Answer, status: int, *says: str) -> None:
    """Hold an answer against the shape of errors, and its sentence against what it must say."""
    found = answer.json
    sentence = found["error"]
    assert answer.status == status, sentence
    assert found == (
        {"class_id": -1, "confidence": 0.0, "error": sentence} if path == PREDICT else {"error": sentence}
    )
    assert len(sentence) < 600
    assert not PRIVATE.search(sentence), sentence
    for part in says:
        assert part in sentence, sentence
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) is (status in (429, 503))


async def refuse(
    hub: Hub, path: str, body: bytes | object, status: int, *says: str, headers: Sequence[str] = ()
) -> None:
    """Send a body, JSON unless it is bytes, and hold the answer against `refused`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", path, data, *headers)
    refused(path, answer, status, *says)


def tensor(
    data: object, shape: Sequence[object] = (1,), datatype: str = "FP32", name: str = "features"
) -> dict[str, Any]:
    """An inference request of one input."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


def raw_tensor(data: bytes, name: str = "features", datatype: str = "FP32") -> bytes:
    """An inference request of one element whose data is not to go through an encoder."""
    return b'{"inputs":[{"name":"%b","shape":[1],"datatype":"%b","data":%b}]}' % (
        name.encode(),
        datatype.encode(),
        data,
    )


# --- the body as a whole ---


@BOTH
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", ("empty", "expected a JSON object")),
        (b" ", ("expected a JSON object", "ends too early, after 1 bytes")),
        (b"features=1", ("expected a JSON object", "no JSON")),
        (b"{", ("expected a JSON object", "ends too early, after 1 bytes")),
        (b"[]", ("expected `object`, got `array`",)),
        (b"3", ("expected `object`, got `integer`",)),
        (b"null", ("expected `object`, got `null`",)),
        (b'"text"', ("expected `object`, got `string`",)),
        (b"{} {}", ("no JSON",)),
        (b"\xef\xbb\xbf{}", ("expected a JSON object", "no JSON")),
        ('{"features":[1]}'.encode("utf-16"), ("expected a JSON object", "no JSON")),
    ],
)  # fmt: skip
async def test_what_is_no_json_object(hub: Hub, path: str, body: bytes, says: Sequence[str]) -> None:
    if body in (b"{} {}",) and path == INFER:
        says = ()  # the missing inputs are found first
    await refuse(hub, path, body, 400, *says)


@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'{"features":[', b'{"inputs":', b'{"inputs":[{"data":', b'{"id":[']
)
@BOTH
async def test_deep_nesting(hub: Hub, path: str, opening: bytes) -> None:
    await refuse(hub, path, opening + b"[" * 100_000, 400)
    await refuse(hub, path, opening * (MOST // len(opening)), 400)


async def test_deep_nesting_is_named_where_it_is_reached(hub: Hub) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    # A Python from 3.14 on skips an unknown field of this depth, and says that `inputs` is missing.
    await refuse(hub, INFER, b'{"x":' + deep + b"}", 400)
    await refuse(hub, INFER, raw_tensor(deep), 400, "nested too deeply", "expected")
    await refuse(hub, INFER, b'{"x":NaN,"y":' + deep + b"}", 400, "nested too deeply", "expected")


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (PREDICT, b'{"text":"caf\xe9"}', ("expected UTF-8 text", "0xe9")),
        (PREDICT, b'{"text":"\xed\xa0\x80"}', ("expected UTF-8 text", "0xed")),
        (PREDICT, b'{"text":"\\ud800"}', ("\\ud800", "expected a pair")),
        (PREDICT, b'{"text":"\\ud800x"}', ("\\ud800", "expected a pair")),
        (PREDICT, b'{"text":"x\\udc00"}', ("\\ud800", "expected a pair")),
        (PREDICT, b'{"features":[1],"model_name":"\\ud800"}', ("\\ud800", "expected a pair")),
        (INFER, raw_tensor(b"[1]", name="\\ud800"), ("\\ud800", "expected a pair")),
        (INFER, raw_tensor(b"[NaN]", name="\\ud800"), ("\\ud800", "expected a pair")),
        (INFER, raw_tensor(b'["\\ud800"]', datatype="BYTES"), ("\\ud800", "expected a pair")),
        (INFER, raw_tensor(b'["\xff"]', datatype="BYTES"), ("'features'", "array of strings", "no UTF-8")),
        (INFER, b'{"id":"\xff","inputs":[]}', ("expected UTF-8 text", "0xff")),
        (INFER, b'{"id":"\xff","inputs":[],"x":NaN}', ("expected UTF-8 text", "0xff")),
    ],
)  # fmt: skip
async def test_text_that_is_none(hub: Hub, path: str, body: bytes, says: Sequence[str]) -> None:
    await refuse(hub, path, body, 400, *says)


async def test_a_lone_surrogate_in_nested_data(hub: Hub) -> None:
    body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"BYTES","data":[["\\ud800"]]}]}'
    await refuse(hub, "/v2/models/string/infer", body, 400, "\\ud800", "expected a pair")


async def test_of_a_key_that_comes_twice_the_last_one_holds(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        one = await raw.ask("POST", PREDICT, b'{"features":[9],"features":[1,2]}')
        two = await raw.ask("POST", PREDICT, b'{"features":[1,2]}')
        assert one.status == 200
        assert one.body == two.body
        data = b'"shape":[9],"shape":[1],"datatype":"FP32","data":["x"],"data":[5]'
        three = await raw.ask("POST", INFER, b'{"inputs":[],"inputs":[{"name":"features",' + data + b"}]}")
        assert three.status == 200


# --- types and numbers ---


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, ("'features'", "'text'", "neither")),
        ({"features": None}, ("'features'", "'text'", "neither")),
        ({"features": [1], "text": "a"}, ("'features'", "'text'", "both")),
        ({"features": []}, ("expected at least one number", "empty array")),
        ({"features": 1}, ("expected `array | null`, got `integer`", "features")),
        ({"features": "1"}, ("expected `array | null`, got `string`", "features")),
        ({"features": [1, True]}, ("expected `number`, got `boolean`", "features[1]")),
        ({"features": ["1"]}, ("expected `number`, got `string`", "features[0]")),
        ({"features": [None]}, ("expected `number`, got `null`", "features[0]")),
        ({"features": [[1]]}, ("expected `number`, got `array`", "features[0]")),
        ({"text": 1}, ("expected `string | null`, got `integer`", "text")),
        ({"features": [1], "model_name": 1}, ("expected `string`, got `integer`", "model_name")),
        ({"features": [1], "feature": [1]}, ("unknown field `feature`", "expected features, text, model_name")),
        ({"features": [1], "x" * 5000: 1}, ("unknown field", "expected features, text, model_name")),
        ({"text": "a", "model_name": "quick"}, ("'quick' takes numbers", "expected 'features', got 'text'")),
        ({"features": [1], "model_name": "string"}, ("'string' takes text", "expected 'text', got 'features'")),
        ({"features": [1e39]}, ("features[0] is 1e+39", "expected a finite number", "FP32")),
        ({"features": [0, -3.5e38]}, ("features[1] is -3.5e+38", "expected a finite number", "FP32")),
        ({"features": [0, 128], "model_name": "int8"}, ("features[1] is 128.0", "expected a whole number", "INT8")),
        ({"features": [0.5], "model_name": "int8"}, ("features[0] is 0.5", "expected a whole number", "INT8")),
        ({"features": [1e300], "model_name": "int8"}, ("features[0] is 1e+300", "expected a whole number", "INT8")),
        (b'{"features":[1e400]}', ("number out of range", "features[0]", "expected one that 64 bits can hold")),
        (b'{"features":[%b]}' % (b"9" * 400), ("number out of range", "64 bits")),
        (b'{"features":[%b]}' % (b"9" * 9000), ("number out of range", "64 bits")),
        (b'{"features":[NaN]}', ("NaN and Infinity are not taken", "expected finite numbers")),
        (b'{"features":[1,Infinity]}', ("NaN and Infinity are not taken", "expected finite numbers")),
        (b'{"features":[1,-Infinity]}', ("NaN and Infinity are not taken", "expected finite numbers")),
    ],
)  # fmt: skip
async def test_predict_bodies(hub: Hub, body: bytes | object, says: Sequence[str]) -> None:
    await refuse(hub, PREDICT, body, 400, *says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, ("missing required field `inputs`",)),
        ({"inputs": 3}, ("expected `array`, got `integer`", "inputs")),
        ({"inputs": [3]}, ("expected `object`, got `integer`", "inputs[0]")),
        ({"inputs": [{"name": "features"}]}, ("missing required field", "inputs[0]")),
        ({"inputs": []}, ("'features' is missing", "expected 'features' FP32 [-1]", "got []")),
        (tensor([1], name="other"), ("'features' is missing", "got ['other']")),
        ({"inputs": tensor([1])["inputs"] * 2}, ("expected each input once", "['features', 'features']")),
        ({"inputs": tensor([1])["inputs"] + tensor([1], name="y" * 999)["inputs"]}, ("unknown input 'yyy", "expected 'features'")),
        (tensor([1]) | {"id": 1}, ("expected `string | null`, got `integer`", "id")),
        (tensor([1]) | {"outputs": [{"name": "zz"}]}, ("unknown output 'zz'", "expected one of", "class_id")),
        (tensor([1]) | {"outputs": [{"name": "class_id"}] * 2}, ("expected each output once", "'class_id', 'class_id'")),
        (tensor([1, 2]), ("shape [1] needs 1 elements, got 2",)),
        (tensor([]), ("shape [1] needs 1 elements, got 0",)),
        (tensor([1], [1, 1]), ("has shape [1, 1], expected [-1]", "any size")),
        (tensor([1], []), ("has shape [], expected [-1]",)),
        (tensor([[1]], []), ("array of numbers", "shape []", "more levels than the shape has dimensions")),
        (tensor([[1, 2]], [2, 1]), ("array of numbers", "shape [2, 1]", "expected an array of 2, got an array of 1")),
        (tensor([[1], 2], [2, 1]), ("expected an array of 1, got a single value",)),
        (tensor([1], [-1]), ("dimension -1 in shape, expected 0 to",)),
        (tensor([1], [2**40, 2**40]), ("expected at most 1099511627776",)),
        (tensor([1], [2**40] * 32), ("expected at most 1099511627776",)),
        (tensor([1], [2**40]), ("needs 1099511627776 elements, got 1",)),
        (tensor([1], [10**30]), (f"dimension {10**30} in shape, expected 0 to",)),
        (tensor([1], [-(10**4000)]), ("dimension -1000", "expected 0 to")),
        (tensor([1], [1] * 33), ("33 dimensions, expected at most 32",)),
        (tensor([1], ["1"]), ("expected `integer`, got `string`", "shape[0]")),
        (tensor([1], [1.0]), ("expected `integer`, got `number`", "shape[0]")),
        (tensor([1], [True]), ("expected `integer`, got `boolean`", "shape[0]")),
        (tensor("1"), ("array of numbers", "expected `array`, got `string`")),
        (tensor({"0": 1}), ("array of numbers", "expected `array`, got `object`")),
        (tensor(None), ("expected either data or the parameter binary_data_size, got neither",)),
        (tensor([None]), ("array of numbers", "expected `number`, got `null`", "data[0]")),
        (tensor([True]), ("array of numbers", "expected `number`, got `boolean`", "data[0]")),
        (tensor(["1"], datatype="BOOL"), ("array of booleans", "expected `boolean`, got `string`")),
        (tensor([1], datatype="BYTES"), ("array of strings", "expected `string`, got `integer`")),
        (tensor([1.5], datatype="INT32"), ("array of integers", "expected `integer`, got `number`")),
        (tensor([1], datatype="INT8"), ("is INT8, expected FP32",)),
        (tensor([1], datatype="BF16"), ("datatype 'BF16', expected one of BOOL",)),
        (tensor([1], datatype="float" * 99), ("datatype", "expected one of BOOL")),
        (tensor([128], datatype="INT8"), ("element 0 is 128, out of the range of INT8",)),
        (tensor([-1], datatype="UINT64"), ("element 0 is -1, out of the range of UINT64",)),
        (tensor([1, 2**63], [2], datatype="INT64"), (f"element 1 is {2**63}, out of the range of INT64",)),
        (tensor([70000], datatype="FP16"), ("element 0 is 70000.0, out of the range of FP16",)),
        (tensor([1, 1e39], [2]), ("element 1 is 1e+39, out of the range of FP32",)),
        (raw_tensor(b"[1e400]"), ("number 1e400 is out of range, expected one that 64 bits can hold",)),
        (raw_tensor(b"[1e400]", datatype="FP64"), ("number 1e400 is out of range, expected one that 64 bits can hold",)),
        (raw_tensor(b"[%b]" % (b"9" * 400)), ("out of range", "64 bits")),
        (raw_tensor(b"[%b]" % (b"9" * 9000), datatype="INT64"), ("digits is out of range", "64 bits")),
        (raw_tensor(b"[NaN, %b]" % (b"9" * 9000)), ("digits is out of range", "64 bits")),
        (raw_tensor(b"[1e39, NaN]"), ("shape [1] needs 1 elements, got 2",)),
        (b'{"inputs":[{"name":"features","shape":[2],"datatype":"FP32","data":[NaN,1e39]}]}', ("element 1 is 1e+39",)),
        (raw_tensor(b"[NaN]", datatype="INT32"), ("array of integers", "expected `integer`, got `number`")),
        (raw_tensor(b"NaN"), ("array of numbers", "expected `array`, got `number`")),
        (b'{"id":NaN,"inputs":[]}', ("expected `string | null`, got `number`", "id")),
        (b'{"x":NaN,}', ("expected a JSON object", "no JSON")),
        (b'{"x":Infinitely}', ("expected a JSON object", "no JSON")),
        (b"NaN", ("expected `object`, got `number`",)),
        (b'[{"inputs":NaN}]', ("expected `object`, got `array`",)),
        (b'{"inputs":{"data":NaN}}', ("expected `array`, got `object`",)),
        (tensor([1]) | {"parameters": {"hub_members": "[]"}}, ("'hub_members' is reserved", "expected")),
        (tensor([1]) | {"parameters": {"triton_x": 1}}, ("'triton_x' is reserved", "expected")),
        (tensor([1]) | {"parameters": {"a": 2**64}}, (f"parameter 'a' is {2**64}, expected an integer of 64 bits",)),
        (tensor([1]) | {"parameters": {"a": [1]}}, ("expected `boolean | integer | number | string | null`, got `array`",)),
        (tensor([1]) | {"parameters": {"timeout": -1}}, ("'timeout'", "microseconds", "got -1")),
        (tensor([1]) | {"parameters": {"timeout": True}}, ("'timeout'", "microseconds", "got")),
        (tensor([1]) | {"parameters": {"timeout": "1"}}, ("'timeout'", "microseconds", "got '1'")),
    ],
)  # fmt: skip
async def test_infer_bodies(hub: Hub, body: bytes | object, says: Sequence[str]) -> None:
    await refuse(hub, INFER, body, 400, *says)


@pytest.mark.parametrize(("model", "dtype"), [("quick", "FP32"), ("fp64", "FP64"), ("fp16", "FP16")])
@pytest.mark.parametrize("data", [b"[NaN]", b"[Infinity]", b"[-Infinity]"])
async def test_the_protocol_takes_nan_and_infinity(hub: Hub, model: str, dtype: str, data: bytes) -> None:
    name = "features" if model == "quick" else "x"
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", f"/v2/models/{model}/infer", raw_tensor(data, name, dtype))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (PREDICT, {"features": [1], "model_name": "zz"}, ("model 'zz' is unknown", "expected one of", "quick")),
        (PREDICT, {"features": [1], "model_name": "z" * 9999}, ("is unknown", "expected one of")),
        ("/v2/models/zz/infer", tensor([1]), ("model 'zz' is unknown", "expected one of", "quick")),
        ("/v2/models/zz/versions/1/infer", tensor([1]), ("model 'zz' is unknown", "expected one of", "quick")),
        ("/v2/models/quick/versions/7/infer", tensor([1]), ("no version '7'", "it has 1")),
        ("/v2/models/quick/versions/%ff%0a/infer", tensor([1]), ("no version", "it has 1")),
    ],
)  # fmt: skip
async def test_models_and_versions_that_are_unknown(
    hub: Hub, path: str, body: object, says: Sequence[str]
) -> None:
    await refuse(hub, path, body, 404, *says)


# --- size ---


@BOTH
async def test_a_large_body_is_refused_by_its_length_before_it_is_read(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        await raw.send(request("POST", path, b"", f"content-length: {100 * 2**20}"))
        answer = await raw.read()
        refused(path, answer, 413, f"{100 * 2**20} bytes", f"expected at most {MOST}")
        assert raw.sent < 200  # nothing but the head


@BOTH
async def test_a_large_body_in_chunks_is_refused_before_it_is_read_whole(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answered = asyncio.ensure_future(raw.read())
        await raw.send(request("POST", path, b"", "transfer-encoding: chunked"))
        piece = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
        while not answered.done() and raw.sent < 100 * 2**20:
            await raw.send(piece)
            await asyncio.sleep(0)
        refused(path, await answered, 413, "bytes, expected at most")
        assert raw.sent < 8 * 2**20


@BOTH
async def test_the_sender_of_a_large_body_can_read_the_answer_afterwards(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", path, b"x" * (4 * 2**20))
        refused(path, answer, 413)
        assert (await raw.ask("GET", "/healthz")).status == 200


@BOTH
async def test_a_gzip_bomb_costs_no_memory(hub: Hub, path: str) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(b"0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated as it is
    bomb = gzip.compress(b"", mtime=0)[:10] + block * 960  # 10^9 bytes
    assert len(bomb) < MOST
    tracemalloc.start()
    await refuse(
        hub, path, bomb, 413, "once it is decompressed", f"at most {MOST}", headers=["content-encoding: gzip"]
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * MOST


@BOTH
@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", b'{"features":[1]}', ("not compressed as its content-encoding says", "header")),
        ("deflate", b'{"features":[1]}', ("not compressed as its content-encoding says",)),
        ("deflate", b"\x78" * 9, ("not compressed as its content-encoding says", "header")),
        ("gzip", b"", ("expected one whole compressed body", "cut short")),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], ("expected one whole compressed body", "cut short")),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", ("not compressed as its content-encoding says",)),
    ],
)  # fmt: skip
async def test_content_encodings(
    hub: Hub, path: str, encoding: str, body: bytes, says: Sequence[str]
) -> None:
    await refuse(hub, path, body, 400, *says, headers=[f"content-encoding: {encoding}"])


@BOTH
@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "x" * 5000])
async def test_content_encodings_that_are_not_taken(hub: Hub, path: str, encoding: str) -> None:
    says = (f"'{encoding[:80]}'", "expected gzip, deflate or identity")
    await refuse(hub, path, b"{}", 415, *says, headers=[f"content-encoding: {encoding}"])


# --- headers ---


@BOTH
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e3", "soon", "", "300001", "9" * 400])
async def test_timeouts_that_are_none(hub: Hub, path: str, value: str) -> None:
    body = {"features": [1]} if path == PREDICT else tensor([1])
    says = ("X-Request-Timeout-Ms", "a whole number from 1 to 300000", f"got '{value[:40]}'")
    await refuse(hub, path, body, 400, *says, headers=[f"x-request-timeout-ms: {value}"])


@pytest.mark.parametrize("id", ["", "a b", "x" * 129, "caf\xe9", "tab\tin it"])
async def test_ids_that_are_none_are_replaced(hub: Hub, id: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", PREDICT, b'{"features":[1]}', f"x-request-id: {id}")
    assert answer.status == 200
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])


@pytest.mark.parametrize("size", [66_000, 200_000])
@pytest.mark.parametrize("ending", [b"\r\n\r\n", b""])
async def test_a_huge_head(hub: Hub, size: int, ending: bytes) -> None:
    async with Raw(hub.gateway.port) as raw:
        assert (await raw.ask("GET", "/healthz")).status == 200
        await raw.send(b"GET /healthz HTTP/1.1\r\nx: " + b"x" * size + ending)
        refused("", await raw.read(), 431, "expected a request head of at most 65536 bytes")
        await raw.closed()


async def test_a_large_body_in_the_same_piece_as_its_head_is_no_huge_head(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", PREDICT, b'{"features":[%b1]}' % (b"1," * 100_000))
    assert answer.status == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"CONNECT hub:3000 HTTP/1.1\r\n\r\n",
        b"CONNECT /predict HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: hub\r\ncontent-length: " + b"0" * 5000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http(hub: Hub, rubbish: bytes) -> None:
    async with Raw(hub.gateway.port) as raw:
        await raw.send(rubbish)
        refused("", await raw.read(), 400, "expected an HTTP/1.1 request, got something that is none")
        assert await raw.closed() == b""


async def test_rubbish_behind_a_request_that_runs_is_not_answered_in_its_place(hub: Hub) -> None:
    body = b'{"features":[1]}'
    async with Raw(hub.gateway.port) as raw:
        await raw.send(request("POST", PREDICT, body) + b"rubbish\r\n\r\n")
        assert b"400" not in (await raw.closed()).split(b"\r\n")[0]


# --- time ---


async def test_a_silent_connection_is_closed(hasty: Gateway) -> None:
    async with Raw(hasty.port) as raw:
        began = monotonic()
        assert await raw.closed() == b""
        assert HEAD_S - 0.1 < monotonic() - began < HEAD_S + 10.0


@pytest.mark.parametrize("again", [False, True])
async def test_a_head_that_drips(hasty: Gateway, again: bool) -> None:
    async with Raw(hasty.port) as raw:
        if again:
            assert (await raw.ask("GET", "/healthz")).status == 200
        began = monotonic()
        answered = asyncio.ensure_future(raw.read())
        for letter in b"POST /predict HTTP/1.1\r\nx: " + b"x" * 1000:
            if answered.done():
                break
            raw.writer.write(bytes([letter]))
            await asyncio.sleep(0.02)
        refused("", await answered, 408, f"expected the whole head of a request within {HEAD_S} s")
        assert HEAD_S - 0.1 < monotonic() - began < HEAD_S + 10.0, (
            "the time is for the whole, which takes 20 s"
        )


@BOTH
async def test_a_body_that_drips(hasty: Gateway, path: str) -> None:
    async with Raw(hasty.port) as raw:
        began = monotonic()
        answered = asyncio.ensure_future(raw.read())
        await raw.send(request("POST", path, b"", "content-length: 1000"))
        while not answered.done():
            raw.writer.write(b"x")
            await asyncio.sleep(0.02)
        answer = await answered
        refused(path, answer, 408, f"expected the whole body within {BODY_S} s", "bytes until then")
        assert answer.headers["connection"] == "close"
        assert BODY_S - 0.1 < monotonic() - began < BODY_S + 10.0, (
            "the time is for the whole, which takes 20 s"
        )
        await raw.closed()


@BOTH
async def test_a_body_that_never_begins(hasty: Gateway, path: str) -> None:
    async with Raw(hasty.port) as raw:
        await raw.send(request("POST", path, b"", "content-length: 5"))
        refused(path, await raw.read(), 408, f"expected the whole body within {BODY_S} s", "got 0 bytes")
        await raw.closed()


async def test_a_body_that_nobody_waits_for_does_not_hold_its_connection(hasty: Gateway) -> None:
    async with Raw(hasty.port) as raw:
        assert (await raw.ask("GET", "/healthz")).status == 200
        assert (await raw.ask("GET", "/healthz", b"", "content-length: 5")).status == 200
        await raw.closed(BODY_S + 15.0)


# --- paths and methods ---


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", PREDICT, "POST"),
        ("PUT", INFER, "POST"),
        ("DELETE", "/v2/models", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", PREDICT, "POST"),
    ],
)  # fmt: skip
async def test_methods_that_a_path_does_not_take(hub: Hub, method: str, path: str, allow: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask(method, path)
    refused(path, answer, 405, f"'{path}' does not take {method}, expected {allow}")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/v1", "/predict/", "/v2/models/quick/summarize", "//predict", "/%2e%2e/x", "/a%0ab"]
)
async def test_paths_that_are_none(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        refused(path, await raw.ask("GET", path), 404, "there is nothing at '/", "expected one of the paths")
        refused(path, await raw.ask("POST", path, b"{}"), 404, "there is nothing at '/")


async def test_after_all_this_good_requests_get_their_answers(hub: Hub) -> None:
    status, answer, _ = await hub.post(PREDICT, {"features": [1]})
    assert (status, answer["error"]) == (200, "")
    assert " 0.0" in next(
        line
        for line in (await hub.metrics()).splitlines()
        if line.startswith("inferencehub_gateway_in_flight")
    )
