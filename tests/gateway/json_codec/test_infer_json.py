"""JSON to tensors and back, without loss, for every datatype, flat or nested."""

import json
import math
import struct
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.oip.predict import CODES
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes
from inferencehub.gateway.json_codec import request_json
from inferencehub.gateway.json_codec.answer_json import Wanted, elements, infer_answer
from inferencehub.gateway.json_codec.json_text import json_number
from inferencehub.gateway.json_codec.request_json import decode_infer, decode_predict
from inferencehub.gateway.json_codec.tensor_json import FLAT

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BITS = {name: 8 * size for name, size in DTYPES.items()}


def values_of(datatype: str, finite: bool) -> st.SearchStrategy[Any]:
    """Values that a datatype can hold; where not `finite`, NaN and Infinity too."""
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return TEXT
    if datatype.startswith("FP"):
        return st.floats(width=BITS[datatype], allow_nan=not finite, allow_infinity=not finite)  # type: ignore[arg-type]
    low = 0 if datatype.startswith("U") else -(2 ** (BITS[datatype] - 1))
    return st.integers(low, low + 2 ** BITS[datatype] - 1)


def nest(values: list[Any], shape: list[int]) -> list[Any]:
    """A flat list as nested ones of a shape."""
    if len(shape) == 1:
        return values
    part = prod(shape[1:])
    return [nest(values[i * part : (i + 1) * part], shape[1:]) for i in range(shape[0])]


@st.composite
def tensors(draw: st.DrawFn, finite: bool = True) -> tuple[str, list[int], list[Any]]:
    """A datatype, a shape and its values."""
    datatype = draw(st.sampled_from(list(FLAT)))
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    count = prod(shape)
    return datatype, shape, draw(st.lists(values_of(datatype, finite), min_size=count, max_size=count))


def decode(datatype: str, shape: list[int], data: Any, **more: Any) -> InferRequest:
    """Decode a request of one input."""
    body = {"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}], **more}
    return decode_infer(json.dumps(body, ensure_ascii=False).encode(), "m", "")[0]


def encode(tensor: Tensor) -> dict[str, Any]:
    """The one output of an answer."""
    answer = json.loads(infer_answer(InferResponse("m", "1", (tensor,)), Wanted())[0])
    assert answer["model_name"] == "m"
    output: dict[str, Any] = answer["outputs"][0]
    return output


@settings(max_examples=250, deadline=None)
@given(tensors(), st.booleans())
def test_what_goes_in_comes_out(made: tuple[str, list[int], list[Any]], nested: bool) -> None:
    datatype, shape, values = made
    if 0 in shape:
        nested = False
    tensor = decode(datatype, shape, nest(values, shape) if nested else values).inputs[0]
    assert (tensor.name, tensor.dtype, tensor.shape) == ("x", datatype, tuple(shape))
    output = encode(tensor)
    assert output == {"name": "x", "datatype": datatype, "shape": shape, "data": values}
    assert [type(value) for value in output["data"]] == [type(value) for value in values]


@settings(max_examples=150, deadline=None)
@given(tensors(finite=False), st.booleans())
def test_numbers_that_json_does_not_have_come_out_as_words_and_go_in_again(
    made: tuple[str, list[int], list[Any]], nested: bool
) -> None:
    datatype, shape, values = made
    tensor = decode(datatype, shape, nest(values, shape) if nested and 0 not in shape else values).inputs[0]
    written = [json_number(value) if isinstance(value, float) else value for value in values]
    assert repr(encode(tensor)["data"]) == repr(written)
    again = decode(datatype, shape, nest(written, shape) if nested and 0 not in shape else written).inputs[0]
    assert again.data == tensor.data
    if datatype.startswith("FP"):
        exact = struct.unpack(f"<{len(values)}{CODES.get(datatype, 'e')}", tensor.data)
        assert list(map(repr, exact)) == [repr(value) for value in values]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("count", [1, 30_000])
def test_every_way_to_write_them_gives_the_same_bits(datatype: str, count: int) -> None:
    code = CODES.get(datatype, "e")
    for text, value in (
        ("NaN", math.nan),
        ('"NaN"', math.nan),
        ("Infinity", math.inf),
        ('"Infinity"', math.inf),
        ("-Infinity", -math.inf),
        ('"-Infinity"', -math.inf),
        ("-0", -0.0),
        ("-0.0", -0.0),
        ("0", 0.0),
    ):
        body = (
            f'{{"inputs":[{{"name":"x","shape":[{count + 1}],"datatype":"{datatype}",'
            f'"data":[{text},{",".join(["1.25"] * count)}]}}]}}'
        )
        tensor = decode_infer(body.encode(), "m", "")[0].inputs[0]
        assert tensor.data == struct.pack(f"<{count + 1}{code}", value, *[1.25] * count), text


@pytest.mark.parametrize("datatype", ["INT32", "BOOL", "BYTES"])
@pytest.mark.parametrize("word", ["nan", "inf", "+Infinity", "infinity", "", "1", "NaN "])
def test_other_words_are_no_numbers(datatype: str, word: str) -> None:
    with pytest.raises(HubError, match="expected `number`, got `string`"):
        decode("FP32", [1], [word])
    if datatype != "BYTES":
        with pytest.raises(HubError, match="input 'x': expected data to be an array of"):
            decode(datatype, [1], ["NaN"])


def test_a_number_that_json_does_not_have_in_an_answers_parameters() -> None:
    response = InferResponse("null", "3", (), {"loss": math.inf, "note": "null", "step": 3})
    assert json.loads(infer_answer(response, Wanted())[0])["parameters"] == {
        "loss": "Infinity",
        "note": "null",
        "step": 3,
    }


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([name for name in FLAT if "INT" in name]), st.integers(-(2**66), 2**66))
def test_integers_are_taken_exactly_where_they_fit(datatype: str, value: int) -> None:
    low = 0 if datatype.startswith("U") else -(2 ** (BITS[datatype] - 1))
    if low <= value < low + 2 ** BITS[datatype]:
        assert elements(decode(datatype, [1], [value]).inputs[0]) == [value]
    else:
        with pytest.raises(HubError, match=f"element 0 is {value}, out of the range of {datatype}"):
            decode(datatype, [1], [value])


@pytest.mark.parametrize(
    ("datatype", "largest", "beyond"),
    [("FP16", 65504.0, 65520.0), ("FP32", 3.4028234663852886e38, 3.4028235677973366e38)],
)  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_a_finite_number_never_becomes_infinite(
    datatype: str, largest: float, beyond: float, sign: int
) -> None:
    assert elements(decode(datatype, [1], [sign * largest]).inputs[0]) == [sign * largest]
    with pytest.raises(HubError, match=f"element 2 is .*, out of the range of {datatype}") as error:
        decode(datatype, [3], [1, math.inf, sign * beyond])
    assert error.value.kind is Kind.BAD_INPUT


def test_many_large_numbers_are_not_taken_for_infinite_ones() -> None:
    assert decode("FP32", [1000], [3.4e38] * 1000).inputs[0].shape == (1000,)
    assert decode("FP64", [1000], [1.7e308] * 1000).inputs[0].shape == (1000,)


def refusal(read: Callable[[bytes], object], body: bytes) -> HubError | None:
    """The error that reading a body ends in, None where it is read."""
    try:
        read(body)
    except HubError as error:
        return error
    return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | TEXT.map(str.encode) | st.from_regex(rb"[\[\]{}:,\"aNItfn0-9.eE+\\u-]{0,40}"))
def test_any_bytes_are_read_or_refused_with_a_sentence(body: bytes) -> None:
    for read in (decode_predict, lambda body: decode_infer(body, "m", "")):
        error = refusal(read, body)
        assert error is None or (error.kind is Kind.BAD_INPUT and error.detail.encode())


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "name": TEXT | JSONS,
                        "shape": st.lists(st.integers(-1, 3), max_size=4) | JSONS,
                        "datatype": st.sampled_from(list(DTYPES)) | JSONS,
                        "data": st.lists(st.floats() | JSONS, max_size=4) | JSONS,
                        "parameters": JSONS,
                    },
                )
                | JSONS,
                max_size=2,
            )
            | JSONS,
            "id": TEXT | JSONS,
            "parameters": JSONS,
            "outputs": st.lists(st.fixed_dictionaries({"name": TEXT}) | JSONS, max_size=2) | JSONS,
        },
    )
)
def test_any_json_is_read_or_refused_with_a_sentence(body: Any) -> None:
    error = refusal(lambda body: decode_infer(body, "m", ""), json.dumps(body).encode())
    assert error is None or (error.kind is Kind.BAD_INPUT and 0 < len(error.detail.encode()) < 1000)


def test_what_a_request_holds_beside_its_inputs() -> None:
    body = {
        "id": "7",
        "inputs": [],
        "outputs": [{"name": "b"}, {"name": "a"}],
        "parameters": {"x": 1, "y": True},
    }
    request, wanted = decode_infer(json.dumps(body).encode(), "m", "3")
    assert wanted == Wanted("7")
    assert (request.model, request.version, request.inputs) == ("m", "3", ())
    assert request.outputs == ("b", "a")
    assert request.parameters == {"x": 1, "y": True}


def test_what_an_answer_holds_beside_its_outputs() -> None:
    answer = json.loads(infer_answer(InferResponse("m", "3", (), {"note": "x"}), Wanted("7"))[0])
    assert answer == {
        "model_name": "m",
        "model_version": "3",
        "outputs": [],
        "id": "7",
        "parameters": {"note": "x"},
    }


def test_outputs_that_json_cannot_carry() -> None:
    with pytest.raises(
        HubError, match=r"output 'x' holds bytes that are no UTF-8 text.* binary_data"
    ) as error:
        encode(Tensor("x", "BYTES", (1,), pack_bytes([b"\xff"])))
    assert error.value.kind is Kind.BAD_INPUT, "the model did what it was asked for"
    with pytest.raises(HubError, match=r"output 'x' is BF16, which .* binary_data") as error:
        encode(Tensor("x", "BF16", (1,), b"\0\0"))
    assert error.value.kind is Kind.BAD_INPUT


FIELDS = {"id": None, "parameters": None, "outputs": None}


def test_null_stands_for_an_optional_field_that_is_absent() -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}
    plain, _ = decode_infer(json.dumps({"inputs": [x]}).encode(), "m", "")
    filled: dict[str, Any] = {"inputs": [x | {"parameters": None}], **FIELDS}
    assert decode_infer(json.dumps(filled).encode(), "m", "") == (plain, Wanted())
    filled = {"inputs": [x | {"parameters": {"binary_data_size": None}}], "parameters": {"timeout": None}}
    assert decode_infer(json.dumps(filled).encode(), "m", "")[0] == plain
    outputs = {
        "inputs": [x],
        "outputs": [{"name": "y", "parameters": None}, {"name": "z", "parameters": {"a": None}}],
    }
    asked, wanted = decode_infer(json.dumps(outputs).encode(), "m", "")
    assert (asked.outputs, asked.classes, wanted) == (("y", "z"), (), Wanted())
    binary = json.dumps({"inputs": [x | {"data": None, "parameters": {"binary_data_size": 4}}]}).encode()
    assert decode_infer(binary + b"abcd", "m", "", len(binary))[0].inputs[0].data == b"abcd"


def test_what_outputs_are_asked_for() -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}
    outputs = [
        {"name": "y", "parameters": {"classification": 2, "binary_data": True, "unit": "m"}},
        {"name": "z", "parameters": {"classification": 0, "binary_data": False}},
    ]
    asked, wanted = decode_infer(json.dumps({"inputs": [x], "outputs": outputs}).encode(), "m", "")
    assert (asked.outputs, asked.classes) == (("y", "z"), (2, 0))
    assert wanted == Wanted(binary={"y": True, "z": False})


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("outputs", "classification", "2"),
        ("outputs", "classification", 1.0),
        ("outputs", "shared_memory_region", "r"),
        ("outputs", "content_type", "base64"),
        ("inputs", "shared_memory_region", "r"),
        ("inputs", "content_type", "base64"),
    ],
)
def test_a_parameter_that_would_change_the_answer_is_refused_by_its_name(
    field: str, name: str, value: object
) -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}
    body: dict[str, Any] = {"inputs": [x], "outputs": [{"name": "y"}]}
    body[field][0]["parameters"] = {name: value}
    with pytest.raises(HubError, match=f"{field[:-1]} '[xy]': parameter '{name}'"):
        decode_infer(json.dumps(body).encode(), "m", "")


def test_escapes_and_unicode_survive() -> None:
    text = 'a "quote" \\ \n \u0000 é 漢 😀'
    tensor = decode("BYTES", [1], [text]).inputs[0]
    assert tensor.data == pack_bytes([text.encode()])
    escaped = decode_infer(
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["\\ud83d\\ude00"]}],"n":NaN}', "m", ""
    )
    assert escaped[0].inputs[0].data == pack_bytes(["😀".encode()])


N = 30_000
NUMBERS = ",".join(["-1.5", "2", "3e-3"] * (N // 3))


def large(data: str, datatype: str = "FP32", shape: str = f"[{N}]", more: str = "") -> bytes:
    return (
        f'{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}{more}}}],"id":"FP"}}'
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        *[
            large(f"[{NUMBERS}]", datatype)
            for datatype in ("FP32", "FP64", "INT32", "FP16", "BF16", "BOOL", "?")
        ],
        large(f"[{NUMBERS}]", shape=f"[{N - 1}]"),
        large(f"[[{NUMBERS}]]", shape=f"[1,{N}]"),
        large(f"[{NUMBERS},true]", shape=f"[{N + 1}]"),
        large(f"[{NUMBERS},null]", shape=f"[{N + 1}]"),
        large(f"[{NUMBERS},NaN]", shape=f"[{N + 1}]"),
        large(f"[{NUMBERS},1e39]", shape=f"[{N + 1}]"),
        large(f"[{NUMBERS},1e999]", shape=f"[{N + 1}]"),
        large(f"[{NUMBERS},9007199254740993]", "INT64", f"[{N + 1}]"),
        large("[" + ",".join(["1"] * 3 * N) + "]", "INT64", f"[{3 * N}]"),
        large(f"[{NUMBERS}", shape=f"[{N}]"),
        large("[" + " " * 70_000 + "]", shape="[0]"),
        large(f"[{NUMBERS}]", more=',"parameters":{"binary_data_size":4}'),
        large(f"[{NUMBERS}]", more=',"parameters":{"own":1}'),
    ],
)
def test_much_json_is_read_as_little_is(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> Any:
        try:
            return decode_infer(body, "m", "")
        except HubError as error:
            return error.kind, error.detail

    fast = outcome()
    monkeypatch.setattr(request_json, "LARGE_TEXT", 10**9)
    assert repr(outcome()) == repr(fast)


def test_much_json_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_json, "decode_any", None)
    request, _ = decode_infer(large(f"[{NUMBERS}]"), "m", "")
    assert request.inputs[0].data == struct.pack(f"<{N}f", *[-1.5, 2, 3e-3] * (N // 3))
