"""Large requests are read without copies, and with the same result as protobuf's own, errors included."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.oip import messages
from inferencehub.core.oip.raw_fields import LARGE_REQUEST, MOST_FIELDS, cut, read_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.support.arrays import to_array
from inferencehub.pb import open_inference_pb2 as pb
from tests.long_runs import examples
from tests.written import request_to_proto

Request = pb.ModelInferRequest


def request(*sizes: int) -> InferRequest:
    tensors = [
        Tensor(f"x{index}", "UINT8", (size,), bytes([index]) * size) for index, size in enumerate(sizes)
    ]
    return InferRequest("m", "3", tuple(tensors), ("y",), {"p": 1})


def by_protobuf(data: bytes) -> Any:
    """The message without its raw contents, and these; None for no message."""
    try:
        message = Request.FromString(data)
    except DecodeError:
        return None
    raw = list(message.raw_input_contents)
    del message.raw_input_contents[:]
    return message, raw


def by_cut(data: bytes) -> Any:
    parts = cut(data)
    return parts and by_protobuf(parts[0]) and (Request.FromString(parts[0]), [bytes(p) for p in parts[1]])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request with some bytes changed, left out or put in, or cut off."""
    sizes = draw(st.lists(st.integers(0, 200), max_size=3))
    data = bytearray(request_to_proto(request(*sizes)).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 3)))
        data[start:stop] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


FIELDS = st.one_of(
    st.binary(max_size=5).map(lambda b: bytes([58, len(b)]) + b),  # raw contents
    st.binary(max_size=5).map(
        lambda b: bytes([58, len(b) | 128, 0]) + b
    ),  # with a length longer than need be
    st.binary(max_size=5).map(lambda b: bytes([58 | 128, 0, len(b)]) + b),  # and such a tag
    st.binary(max_size=5).map(lambda b: bytes([58 | 128, 128, 128, 128, 128, 0, len(b)]) + b),
    st.sampled_from([b"\x0a\x01m", b"\x0a\x01\xff", b"\x38\x05", b"\x3d1234", b"\x3912345678", b"\x3b\x3c"]),
    st.sampled_from(
        [b"\x80\x01\x05", b"\x85\x011234", b"\x02\x01a", b"\x78" + b"\xff" * 9 + b"\x01", b"\x3e"]
    ),
    st.binary(max_size=3),
)


@settings(**examples(500))
@given(st.one_of(damaged(), st.lists(FIELDS, max_size=6).map(b"".join)))
def test_what_is_cut_is_what_protobuf_reads(data: bytes) -> None:
    if cut(data) is not None:
        assert by_cut(data) == by_protobuf(data)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2 * LARGE_REQUEST), max_size=3), st.data())
def test_a_request_is_read_whole_or_refused(sizes: list[int], data: st.DataObject) -> None:
    sent = request_to_proto(request(*sizes)).SerializeToString()
    assert messages.request_from_proto(*read_request(sent)) == request(*sizes)
    some = sent[: data.draw(st.integers(0, len(sent)))]
    expected = by_protobuf(some)
    if expected is None:
        with pytest.raises(HubError, match="not a ModelInferRequest") as caught:
            read_request(some)
        assert caught.value.kind is Kind.BAD_INPUT
    else:
        assert [bytes(raw) for raw in read_request(some)[1]] == expected[1]


def test_large_contents_are_not_copied() -> None:
    sent = request_to_proto(request(LARGE_REQUEST, 5)).SerializeToString()
    message, raw = read_request(sent)
    assert not message.raw_input_contents
    assert [len(part) for part in raw] == [LARGE_REQUEST, 5]
    assert all(isinstance(part, memoryview) and part.obj is sent for part in raw)


def test_a_message_of_very_many_fields_is_left_to_protobuf() -> None:
    sent = b"".join([b"\x0a\x01m"] * MOST_FIELDS)
    assert cut(sent) is None
    assert cut(sent[3:]) is not None


def test_an_array_over_a_part_is_aligned() -> None:
    for offset in range(4):
        data = memoryview(bytes(offset) + bytes(range(8)))[offset:]
        array = to_array(Tensor("x", "INT32", (2,), data))
        assert array.flags.aligned
        assert array.tobytes() == data
