"""The few names of msgspec that the process of a Python model needs, made with the standard library.

A model whose config has `EXECUTION_ENV_PATH` runs in an interpreter that has no msgspec of ours, and the frames are the
same: MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md). `python_worker/start.py` puts this module in the
place of `struct.py` there. It is slower than msgspec, by about 50 µs a call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, dataclass_transform, get_args, get_origin, get_type_hints

__all__ = ["Decoder", "Encoder", "MsgspecError", "Struct", "replace"]

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = dict(zip((*range(0xCA, 0xD4),), "fdBHIQbhiq", strict=True))
LENGTHS = dict(zip((*range(0xC4, 0xC7), *range(0xD9, 0xE0)), "BHIBHIHIHI", strict=True))
LAYOUTS = {code: struct.Struct(f">{form}") for code, form in (NUMBERS | LENGTHS).items()}
BYTES, TEXT, ARRAY = range(0xC4, 0xC7), range(0xD9, 0xDC), range(0xDC, 0xDE)  # and maps behind them
Convert = Callable[[Any], Any]


class MsgspecError(ValueError):
    """The bytes are no message."""


@dataclass_transform()
class Struct:
    """The base of a value class; its subclasses are data classes. `tag` names the class in a frame."""

    tag: ClassVar[str] = ""
    __match_args__: ClassVar[tuple[str, ...]] = ()  # names of the fields; `dataclass` sets it

    def __init_subclass__(cls, tag: str = "", frozen: bool = False, **_: bool) -> None:
        cls.tag = tag
        for name, default in list(vars(cls).items()):
            if isinstance(default, dict) and not name.startswith("_"):
                setattr(cls, name, field(default_factory=dict))
        dataclass(frozen=frozen)(cls)


class Encoder:
    """Writes MessagePack. Each length and number takes the longest form, which all readers take."""

    def encode(self, message: Any) -> bytes:
        """A message, such as one of `python/channel.py`, as bytes."""
        parts: list[bytes] = []
        self._put(message, parts.append)
        return b"".join(parts)

    def _put(self, value: Any, put: Callable[[bytes], None]) -> None:
        if value is None or isinstance(value, bool):
            put(b"\xc0" if value is None else b"\xc3" if value else b"\xc2")
        elif isinstance(value, int):
            put(struct.pack(">BQ", 0xCF, value) if value >= 0 else struct.pack(">Bq", 0xD3, value))
        elif isinstance(value, float):
            put(struct.pack(">Bd", 0xCB, value))
        elif isinstance(value, str | bytes):
            data, code = (value, 0xC6) if isinstance(value, bytes) else (value.encode(), 0xDB)
            put(struct.pack(">BI", code, len(data)) + data)
        elif isinstance(value, list | tuple):
            put(struct.pack(">BI", 0xDD, len(value)))
            for each in value:
                self._put(each, put)
        elif isinstance(value, Struct):
            values = list(vars_of(value).values())
            self._put([value.tag, *values] if value.tag else values, put)
        else:
            named = value if isinstance(value, dict) else vars_of(value)
            put(struct.pack(">BI", 0xDF, len(named)))
            for name, each in named.items():
                self._put(name, put)
                self._put(each, put)


class Decoder:
    """Reads the messages that the service sends.

    Args:
        kinds: the union of their classes; each has a tag.
    """

    def __init__(self, kinds: Any) -> None:
        self._makers = {kind.tag: maker(kind) for kind in get_args(kinds)}

    def decode(self, data: memoryview) -> Any:
        """The message in these bytes.

        Raises:
            MsgspecError: if there is none.
        """
        try:
            tag, *values = Reader(data).value()
            return self._makers[tag](values)
        except (LookupError, TypeError, ValueError, struct.error) as error:
            raise MsgspecError(str(error)) from None


class Reader:
    """Reads MessagePack's values, one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def value(self) -> Any:
        """The next value.

        Raises:
            LookupError, ValueError, struct.error: if the bytes are not valid.
        """
        code = self._data[self._at]
        self._at += 1
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        if code in CONSTANTS:
            return CONSTANTS[code]
        if code < 0xC0:
            return self._text(code & 31) if code >= 0xA0 else self._many(code & 15, code >= 0x90)
        layout = LAYOUTS[code]
        (number,) = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        if code in NUMBERS:
            return number
        if code in TEXT:
            return self._text(number)
        return self._bytes(number) if code in BYTES else self._many(number, code in ARRAY)

    def _bytes(self, length: int) -> bytes:
        data = bytes(self._data[self._at : self._at + length])
        if len(data) < length:
            raise ValueError(f"{length} bytes expected, {len(data)} are there")
        self._at += length
        return data

    def _text(self, length: int) -> str:
        return self._bytes(length).decode()

    def _many(self, count: int, array: bool) -> Any:
        if array:
            return [self.value() for _ in range(count)]
        return {self.value(): self.value() for _ in range(count)}


def vars_of(value: Any) -> dict[str, Any]:
    """The fields of a data class's value, in their order."""
    return {name: getattr(value, name) for name in type(value).__match_args__}


def maker(kind: Any) -> Convert:
    """What makes a value of a type from what was read; only tuples, structs and data classes need one."""
    if get_origin(kind) is tuple and get_args(kind)[1] is ...:
        each = maker(get_args(kind)[0])
        return lambda values: tuple(map(each, values))
    if not hasattr(kind, "__dataclass_fields__"):
        return lambda value: value
    hints = get_type_hints(kind)
    makers = {name: maker(hints[name]) for name in kind.__match_args__}
    if issubclass(kind, Struct):
        in_order = list(makers.values())
        # A shorter array has fields that the default is for.
        return lambda values: kind(*[make(value) for make, value in zip(in_order, values, strict=False)])
    return lambda named: kind(**{name: makers[name](value) for name, value in named.items()})
