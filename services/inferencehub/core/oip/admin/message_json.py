"""Messages as JSON in the form of Triton's HTTP API.

Unlike protobuf's own JSON, 64-bit integers are numbers. Names are those of the .proto files, enums are written as their
names, and a field that has no value is written with its default. A message that is not set is left out, and so is a
member of a `oneof` that is not chosen. The order is that of the .proto files.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

Json = dict[str, Any]
Field = Any  # protobuf's FieldDescriptor; its stubs have two of them, one for Python and one for C


def message_json(message: Message) -> Json:
    """A message as an object for a JSON encoder; see the module's text."""
    return {
        field.name: field_json(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def field_json(field: Field, value: Any) -> Any:
    """The value of one field."""
    if is_map(field):
        of_value = field.message_type.fields_by_name["value"]
        return {str(key): one_json(of_value, value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [one_json(field, item) for item in value]
    return one_json(field, value)


def one_json(field: Field, value: Any) -> Any:
    """One value of a field, which may be repeated or the value of a map."""
    if field.message_type is not None:
        return message_json(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number
        return known[value].name if value in known else value
    return value


def is_map(field: Field) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
