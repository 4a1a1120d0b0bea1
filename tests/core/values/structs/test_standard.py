"""The codec of the standard library against msgspec: each reads what the other writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

import msgspec
import pytest

from inferencehub.core.values.structs.standard import Decoder, Encoder, MsgspecError, Reader, Struct, replace

NUMBERS = [
    0,
    1,
    127,
    128,
    255,
    256,
    2**16,
    2**32,
    2**64 - 1,
    -1,
    -32,
    -33,
    -128,
    -129,
    -(2**15) - 1,
    -(2**63),
]
LENGTHS = (0, 1, 15, 16, 31, 32, 255, 256, 2**16)
VALUES: list[Any] = [
    *NUMBERS,
    *(0.0, -1.5, 1e300, inf, -inf),
    *(None, True, False),
    *["ż" * length for length in LENGTHS],
    *[b"\0" * length for length in LENGTHS],
    *[list(range(length)) for length in LENGTHS],
    *[{str(number): number for number in range(length)} for length in LENGTHS],
    {"a": [{"b": []}, "c", b"d", [None, 1.5]]},
]


def test_each_reads_what_the_other_writes() -> None:
    for value in VALUES:
        assert Reader(memoryview(msgspec.msgpack.encode(value))).value() == value
        assert msgspec.msgpack.decode(Encoder().encode(value)) == value


def test_nan_stays() -> None:
    assert isnan(Reader(memoryview(msgspec.msgpack.encode(nan))).value())
    assert isnan(msgspec.msgpack.decode(Encoder().encode(nan)))


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    shape: tuple[int, ...]
    optional: bool = False


class Part(Struct, array_like=True):
    name: str
    shape: tuple[int, ...]


class Answer(Struct, tag="answer", array_like=True):
    parts: tuple[Part, ...]
    more: bool = False


class Call(Answer, tag="call", array_like=True):
    parameters: Mapping[str, bool | int | float | str] = {}
    specs: tuple[Spec, ...] = ()


class TheirPart(msgspec.Struct, array_like=True):
    name: str
    shape: tuple[int, ...]


class TheirAnswer(msgspec.Struct, tag="answer", array_like=True):
    parts: tuple[TheirPart, ...]
    more: bool = False


class TheirCall(TheirAnswer, tag="call", array_like=True):
    parameters: Mapping[str, bool | int | float | str] = {}
    specs: tuple[Spec, ...] = ()


SPECS = (Spec("a", (-1, 2), True), Spec("b", ()))
PAIRS = [
    (Answer(()), TheirAnswer(())),
    (Answer((Part("a", (1, 2)), Part("b", ())), True), TheirAnswer((TheirPart("a", (1, 2)), TheirPart("b", ())), True)),
    (Call((Part("a", (1,)),)), TheirCall((TheirPart("a", (1,)),))),
    (Call((), False, {"x": 1.5, "y": "z"}, SPECS), TheirCall((), False, {"x": 1.5, "y": "z"}, SPECS)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_structs_are_read_by_the_other(ours: Struct, theirs: msgspec.Struct) -> None:
    assert msgspec.msgpack.decode(Encoder().encode(ours), type=TheirAnswer | TheirCall) == theirs
    assert Decoder(Answer | Call).decode(memoryview(msgspec.msgpack.encode(theirs))) == ours


def test_a_shorter_array_has_the_defaults() -> None:
    assert Decoder(Answer | Call).decode(memoryview(msgspec.msgpack.encode(["call", []]))) == Call(())


def test_a_struct_is_a_value() -> None:
    call = Call(())
    changed = replace(call, more=True)
    assert changed == Call((), more=True)
    assert call.parameters is not Call(()).parameters
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'parts'"):
        Call()  # type: ignore[call-arg]  # what is tested


WHOLE = msgspec.msgpack.encode(PAIRS[3][1])


def test_what_is_no_message_is_refused() -> None:
    cut = [WHOLE[:end] for end in range(len(WHOLE))]
    for data in [b"\xc1", b"\x90", b"\x01", msgspec.msgpack.encode(["other", []]), *cut]:
        with pytest.raises(MsgspecError):
            Decoder(Answer | Call).decode(memoryview(data))
