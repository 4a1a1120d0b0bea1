"""Changed messages of protobuf: fields set to the ends of their ranges, left out, repeated, and bytes that are changed."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzz.changes import KEYS, SHAPES, TEXTS, Changes

MOST_BYTES = 2**17  # of a message; what a process once used for a large one it keeps, which is no growth
MODELS = ["quick", "any_FP32", "any_BYTES", "rows", "several", "digits", "sentiment", "absent", ""]
WORDS = [*TEXTS, *MODELS, *KEYS, "1", "0", "01", "-1", "9" * 30, "inference.GRPCInferenceService", "y", "\n", "\x7f" * 2000,
         "[[1, 60000000, \"a\"]]", "[[-1, 0, \"a\"]]", "[" * 3000]  # fmt: skip
ENDS: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31)],
    FieldDescriptor.CPPTYPE_INT64: [0, 1, -1, 2, 3, 2**31, 2**40, 2**40 + 1, 2**63 - 1, -(2**63)],
    FieldDescriptor.CPPTYPE_UINT32: [0, 1, 256, 2**16, 2**32 - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1, 2**32, 2**63, 2**64 - 1],
    FieldDescriptor.CPPTYPE_DOUBLE: [
        0.0,
        -0.0,
        1e308,
        -1e308,
        5e-324,
        float("nan"),
        float("inf"),
        float("-inf"),
    ],
    FieldDescriptor.CPPTYPE_FLOAT: [0.0, -0.0, 3e38, 1e-45, float("nan"), float("inf"), float("-inf")],
    FieldDescriptor.CPPTYPE_BOOL: [True, False],
    FieldDescriptor.CPPTYPE_ENUM: [0, 1, 2, 99, -1],
}
BLOBS = [
    b"",
    b"\0",
    bytes(4),
    bytes(12),
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\4\0\0\0abcd",
    bytes(40_000),
    b"x" * 70_000,
]
# A group that does not end, a type that does not exist, numbers that are too long, an unknown field, and field 0.
WIRE = [b"\x0b", b"\x0e\x01", b"\x07", b"\xff" * 11, b"\x80" * 9 + b"\x01", b"\xfa\x7f\x03abc", b"\x00\x00", b"\x2a\x80\x80\x80\x80\x08"]  # fmt: skip


class Messages(Changes):
    """See the module's text."""

    def changed(self, good: Message) -> bytes:
        """The bytes of a message that is probably bad."""
        pick = self.random
        message = type(good).FromString(good.SerializeToString())
        for _ in range(pick.choice([0, 1, 1, 1, 2, 5])):
            self.change(message)
        data = message.SerializeToString()
        if len(data) > MOST_BYTES:
            data = good.SerializeToString()
        if pick.random() < 0.1:
            data += pick.choice(WIRE) if pick.random() < 0.5 else good.SerializeToString()
        return self.spoil(data) if pick.random() < 0.35 else data

    def change(self, message: Message) -> None:
        """Change one thing in a message, anywhere inside it."""
        fields: list[Any] = list(message.DESCRIPTOR.fields)
        if not fields:
            message.MergeFromString(b"\xfa\x7f\x03abc")
            return
        given = [field for field, _ in message.ListFields()]
        field = self.random.choice(given if given and self.random.random() < 0.6 else fields)
        if self.random.random() < 0.1:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._change_map(message, field)
        elif field.is_repeated:
            self._change_list(message, field)
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self.change(inner)
        else:
            setattr(message, field.name, self.end_of(field))

    def end_of(self, field: FieldDescriptor) -> Any:
        """A value for a field, often at an end of its range."""
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.random.choice(BLOBS)
        return self.random.choice(ENDS.get(field.cpp_type, WORDS))

    def _change_map(self, message: Message, field: FieldDescriptor) -> None:
        assert field.message_type is not None
        pairs, pick = getattr(message, field.name), self.random
        key_field, value_field = (
            field.message_type.fields_by_name["key"],
            field.message_type.fields_by_name["value"],
        )
        key = pick.choice(list(pairs)) if pairs and pick.random() < 0.5 else self.end_of(key_field)
        if value_field.message_type is not None:
            self.change(pairs[key])
        else:
            pairs[key] = self.end_of(value_field)

    def _change_list(self, message: Message, field: FieldDescriptor) -> None:
        items, pick = getattr(message, field.name), self.random
        at = pick.randrange(len(items) + 1)
        match pick.randrange(6):
            case 0 if items:
                del items[max(0, at - 1)]
            case 5 if field.name == "shape":
                items[:] = pick.choice(SHAPES)
            case 1 if items:
                whole = list(items) * pick.choice([1, 1, 39])
                items.extend(whole)
            case _ if field.message_type is not None:
                if at == len(items):
                    items.add()
                self.change(items[at])
            case _ if at < len(items):
                items[at] = self.end_of(field)
            case _:
                items.append(self.end_of(field))
