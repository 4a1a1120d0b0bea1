"""For a bad body, callers get a status of the table and a sentence that says what was expected and what came."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.gateway.http_api.bad_input import BOTH, INFER, MOST, PREDICT, answers_well, refuse, tensor
from tests.gateway.raw import Raw
from tests.hub import Hub, mock_model, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


def raw_tensor(data: bytes, name: str = "features", datatype: str = "FP32") -> bytes:
    """An inference request of one element whose data is not to go through an encoder."""
    return b'{"inputs":[{"name":"%b","shape":[1],"datatype":"%b","data":%b}]}' % (
        name.encode(),
        datatype.encode(),
        data,
    )


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
        ("/v1/models/mock:predict", b'{"instances":[{"\\ud800":[1]}]}', ("\\ud800", "expected a pair")),
        ("/v1/models/mock:predict", b'{"instances":[{"\\ud800":[1]},NaN]}', ("\\ud800", "expected a pair")),
        ("/v2/models/mock/generate", b'{"\\ud800":[1]}', ("\\ud800", "expected a pair")),
        ("/v2/repository/index", b'{"\\ud800":true}', ("\\ud800", "expected a pair")),
        ("/v2/logging", b'{"\\ud800":true}', ("\\ud800", "expected a pair")),
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
        ({"features": [[1]]}, ("features: expected the numbers of one row in one array, got an array of rows (1); /v1/models/",)),
        ({"features": [[1, 2], [3]]}, ("got an array of rows (2); /v1/models/<model>:predict takes several",)),
        ({"features": [[1], 2]}, ("expected `number`, got `array`", "features[0]")),
        ({"text": 1}, ("expected `string | null`, got `integer`", "text")),
        ({"features": [1], "model_name": 1}, ("expected `string`, got `integer`", "model_name")),
        ({"features": [1], "feature": [1]}, ("unknown field `feature`", "expected features, text, model_name")),
        ({"features": [], "feature": [1]}, ("unknown field `feature`", "expected features, text, model_name")),
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
        (tensor([[1, 2]], [2, 1]), ("array of numbers", "shape [2, 1]", "data: expected an array of 2, got an array of 1")),
        (tensor([[1, 2, 3], [1, 2]], [2, 3]), ("data[1]: expected an array of 3, got an array of 2",)),
        (tensor([[[1, 2], [1]]], [1, 2, 2]), ("data[0][1]: expected an array of 2, got an array of 1",)),
        (tensor([[1], 2], [2, 1]), ("data[1]: expected an array of 1, got a single value",)),
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


async def test_after_all_this_good_requests_get_their_answers(hub: Hub) -> None:
    await answers_well(hub)
