"""Large JSON read by compiled code: the tensors and the errors are the same as those that Python code gives."""

import json
import math
import re
import shutil
import struct
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.oip.predict import CODES
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.json_codec import long_arrays as number_json
from inferencehub.gateway.json_codec import native_numbers, request_json
from inferencehub.gateway.json_codec.native_numbers import loaded, native, pack_numbers
from inferencehub.gateway.json_codec.request_json import decode_cut, decode_infer
from tests.long_runs import examples

compiled = pytest.mark.skipif(native is None, reason="not compiled: make install, with a C compiler")

WRITTEN = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
NUMBERS = st.one_of(
    WRITTEN,
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 1).map(lambda value: f"{value:.4f}"),
    st.integers(-(2**64), 2**64).map(str),
    st.sampled_from(["0", "-0", "-0.0", "-0e5", "0e400", "1e400", "1e-400", "0.0e-9999", "0" * 3, "1."]),
)
SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r "])


def numbers_read(text: str, datatype: str) -> bytes | None:
    """What msgspec and struct make of the inside of an array; None where that is an error. "-0" keeps its sign."""
    try:
        values = msgspec.json.decode(re.sub(r"-0(?![.\deE])", "-0.0", f"[{text}]").encode(), type=list[float])
        return struct.pack(f"<{len(values)}{CODES[datatype]}", *values)
    except (msgspec.DecodeError, OverflowError):
        return None


def pack(text: str, datatype: str, count: int) -> bytes | None:
    """The same by compiled code, out of the middle of a text."""
    body = f"[0,[{text}],1]".encode()
    return pack_numbers(body, 4, body.index(b"]"), datatype, count)


def test_it_is_compiled_where_there_is_a_compiler() -> None:
    assert native is not None or shutil.which("cc") is None, "make install"


def test_a_library_that_is_missing_or_another_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path / "absent.so") is None
    (tmp_path / "text.so").write_text("no library")
    assert loaded(tmp_path / "text.so") is None


@compiled
@settings(**examples(1500))
@given(
    st.lists(st.tuples(SPACE, NUMBERS, SPACE).map("".join), min_size=1, max_size=8),
    st.sampled_from(["FP32", "FP64"]),
)
def test_every_number_becomes_the_bits_that_python_gives(numbers: list[str], datatype: str) -> None:
    text = ",".join(numbers)
    assert pack(text, datatype, len(numbers)) == numbers_read(text, datatype)


@compiled
@settings(**examples(1500))
@given(st.floats(2.0**-200, 2.0**60), st.integers(15, 30), st.integers(-2, 2))
def test_a_number_beside_the_middle_of_two_doubles_goes_to_the_right_one(
    value: float, digits: int, off: int
) -> None:
    middle = (Decimal(value) + Decimal(math.nextafter(value, math.inf))) / 2
    sign, figures, _ = middle.as_tuple()
    shown = Decimal((sign, figures[:digits], middle.adjusted() - digits + 1))
    shown += off * Decimal(1).scaleb(shown.adjusted() - digits + 1)
    for text in (f"{shown:f}", f"{shown:E}"):
        assert pack(text, "FP64", 1) == struct.pack("<d", float(text)), text


@compiled
@pytest.mark.parametrize("text", ["", " ", ",", "1,", ",1", "1 2", "+1", ".5", "1.", "1e", "1e+", "-", "--1", "01", "-01", "0x1p3",
                                  "1,null", "true", "NaN", "Infinity", "-Infinity", "nan", "inf", '"1"', "[1", "1;2", "1\0", "1\v",
                                  "1_0", "1,,2", "1.2.3", "1e2e3", "é", "1" * 500, "1e999", "1e99999", "9" * 400])  # fmt: skip
def test_what_are_no_numbers_is_refused(text: str) -> None:
    for padded in (text, f"12345678,{text}", f"{text},12345678", f"0.5,{text},{'1,' * 20}1"):
        for count in range(1, 25):
            if numbers_read(padded, "FP32") is None:
                assert pack(padded, "FP32", count) is None


@compiled
def test_another_count_is_refused() -> None:
    read = [pack("1, 2, 3", "FP32", count) is not None for count in (0, 1, 2, 3, 4, 5, 2**40)]
    assert read == [False, False, False, True, False, False, False]


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies of any size are read as large ones."""
    monkeypatch.setattr(request_json, "LARGE_TEXT", 0)
    monkeypatch.setattr(number_json, "LONG", 0)
    monkeypatch.setattr(number_json, "LEAST_SHARE", 0)


def outcome(body: bytes | memoryview) -> Any:
    """The request or the error, as text."""
    try:
        return repr(decode_infer(body, "m", ""))
    except HubError as error:
        return error.kind, error.detail


def both(body: bytes) -> tuple[Any, Any]:
    """The outcome with compiled code, and without."""
    fast = outcome(body)
    assert outcome(memoryview(body)) == fast
    with pytest.MonkeyPatch.context() as without:
        without.setattr(native_numbers, "native", None)
        return fast, outcome(body)


def tensor(data: str, name: str = "x", datatype: str = "FP32", shape: str = "[3]", more: str = "") -> str:
    return f'{{"name":"{name}","shape":{shape},"datatype":"{datatype}","data":{data}{more}}}'


def body(*inputs: str, more: str = "") -> bytes:
    return f'{{"inputs":[{",".join(inputs)}]{more}}}'.encode()


THREE = tensor("[1,2.5,-3]")
HOSTILE = [
    body(tensor("[1,2,3]", datatype=datatype)) for datatype in ("FP64", "FP16", "BF16", "INT64", "BOOL", "BYTES", "?", "\\u0046P32")
] + [
    body(tensor(data)) for data in (
        "[[1,2,3]]", "[[1],[2],[3]]", "[]", "[ ]", "[1,2]", "[1,2,3,4]", "[1,NaN,3]", "[1,Infinity,3]", "[1,1e39,3]", "[1,1e400,3]",
        "[1,null,3]", '[1,"2",3]', "[1,true,3]", "[1,{},3]", "[1,2,3", "[1,2,3]]", "1", "null", '"[1,2,3]"', "[-0,-0.0,-0e1]",
        "[" * 3000 + "]" * 3000, "[1,2,18446744073709551616]", "[1,2," + "9" * 500 + "]", "[1,,3]", "[1,2,3,]", "[1,2,3.]", "[1,2,03]",
    )
] + [
    body(tensor("[1,2,3]", shape=shape)) for shape in ("[]", "[4]", "[-3]", "[3.0]", "[1,3]", "[1099511627776]", "[18446744073709551616]",
                                                       str([1] * 40), "null", '"3"', "[[3]]")
] + [
    body(), body(THREE, THREE), body(THREE, tensor("[1,2,3]", datatype="INT32")), body(tensor('["a","b","c"]', datatype="BYTES"), THREE),
    body(THREE, more=',"id":"7"'), body(THREE, more=',"outputs":[{"name":"y"}]'), body(THREE, more=',"parameters":{"hub_x":1}'),
    body(THREE, more=',"parameters":{"data":[1,2,3]}'), body(THREE, more=',"data":[1,2,3]'), body(THREE, more=',"x":{"data":[1,2,3]}'),
    body(THREE, more=f',"inputs":[{tensor("[7,8,9]")}]'), body(THREE, more=',"inputs":[]'), body(THREE, more=',"outputs":[{"data":[1]}]'),
    body(THREE, more=',"x":{"data":[1 2]}'), body(THREE, more=',"x":"data":[1]'),
    body(tensor("[1,2,3]", more=',"data":[4,5,6]')), body(tensor("[1,2,3]", more=',"data":null')), body(tensor("null", more=',"data":[4,5,6]')),
    body(tensor("[1,2,3]", more=',"parameters":{"binary_data_size":12}')), body(tensor("[1,2,3]", more=',"parameters":{"own":1}')),
    body(tensor("[1,2,3]", more=',"d\\u0061ta":[4,5,6]')), body(tensor("[1,2,3]", more=',"\\"data":[4,5,6]')),
    body('{"name":"x","shape":[3],"datatype":"FP32","d\\u0061ta":[4,5,6]}'), body('{"name":"x","shape":[3],"datatype":"FP32"}'),
    body('{"name":"x","shape":[3],"datatype":"FP32","\\"data":[1,2,3],"data" :[4,5,6]}'),
    body('{"data" : \n[ 1 , 2 , 3 ] , "datatype":"FP32","shape":[3],"name":"data"}'),
    body(tensor("[1,2,3]", name='\\"data\\":[1,2,3]')), body(tensor("[1,2,3]", name='"data":[1,2,3]')),
    body(tensor("[1,2,3]", name="inferencehub cut 0")), body(tensor('"inferencehub cut 0"', more=',"other":{"data":[1,2,3]}')),
    body(tensor('"\\u0069nferencehub cut 0"', more=',"other":{"data":[1,2,3]}')),
    body(tensor("[1,2,3]", name="\\ud800")), body(tensor("[1,2,3]", name="é")), body(THREE)[:-1], body(THREE) + b"x", body(THREE) + b" \n",
    b"\xef\xbb\xbf" + body(THREE), body(THREE).replace(b'"x"', b'"\xff"'), body(THREE).replace(b"2.5", b"2\xff5"),
    body(THREE).replace(b"{", b"[", 1), body(*[tensor("[1,2,3]", name=f"x{n}") for n in range(80)]), b'"data":[1,2,3]', b"[1,2,3]",
    body(THREE, more=',"deep":' + "[" * 5000 + "]" * 5000), body(THREE, more=',"not":NaN'), body("null"), body("[1,2,3]"), b"",
]  # fmt: skip


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_strange_body_ends_as_it_does_without(text: bytes) -> None:
    fast, slow = both(text)
    assert fast == slow


PIECES = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"NaN", b"-", b"0", b"1e9", b".", b" ", b"\xff", b'"data":[1]', b'"data"',
          b"null", b"1e39", b"1e400", b'"inputs":[', b'"inferencehub cut 0"', b'"parameters":{']  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A body of one or two inputs, with some pieces of it lost, doubled or put in between."""
    lists = st.lists(NUMBERS, min_size=1, max_size=5)
    inputs = [
        tensor(
            f"[{','.join(values)}]",
            name,
            draw(st.sampled_from(["FP32", "FP64", "INT64"])),
            f"[{len(values)}]",
        )
        for name, values in zip("xy"[: draw(st.integers(1, 2))], [draw(lists), draw(lists)], strict=False)
    ]
    text = bytearray(body(*inputs))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 6))] = draw(st.sampled_from(PIECES))
    return bytes(text)


@pytest.mark.usefixtures("small_is_large")
def test_a_spoilt_body_ends_as_it_does_without() -> None:
    @settings(**examples(2500))
    @given(spoilt())
    def check(text: bytes) -> None:
        fast, slow = both(text)
        assert fast == slow

    check()


N = 6000


def large(*datatypes: str) -> tuple[bytes, Iterator[list[float]]]:
    """A body with spaces, of an input of `N` numbers for each datatype, and the numbers."""
    rows = [[(-1) ** n * (n + row) / 7 for n in range(N)] for row in range(len(datatypes))]
    inputs = [
        {"name": f"x{row}", "shape": [1, N], "datatype": datatype, "data": rows[row]}
        for row, datatype in enumerate(datatypes)
    ]
    return json.dumps({"inputs": inputs, "id": "7"}).encode(), iter(rows)


@compiled
def test_inputs_of_both_types_are_read_without_a_list() -> None:
    text, rows = large("FP32", "FP64", "FP32")
    read = decode_cut(text)
    assert read is not None
    assert read.id == "7"
    for made, values in zip(read.inputs, rows, strict=True):
        assert isinstance(made, Tensor)
        assert made.data == struct.pack(f"<{N}{CODES[made.dtype]}", *values)


@compiled
def test_texts_beside_large_numbers_are_read_as_ever() -> None:
    text, _ = large("FP32")
    words = b'{"name":"words","shape":[1,2],"datatype":"BYTES","data":[["[1,2]","\\"data\\":[3]"]]}'
    text = text.replace(b"[{", b"[" + words + b",{", 1)
    assert decode_cut(text) is not None
    request, _ = decode_infer(text, "m", "")
    assert [made.dtype for made in request.inputs] == ["BYTES", "FP32"]
    assert bytes(request.inputs[0].data) == b'\5\0\0\0[1,2]\n\0\0\0"data":[3]'


def test_without_compiled_code_all_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    text, rows = large("FP32")
    monkeypatch.setattr(native_numbers, "native", None)
    assert decode_cut(text) is None
    assert decode_infer(text, "m", "")[0].inputs[0].data == struct.pack(f"<{N}f", *next(rows))
