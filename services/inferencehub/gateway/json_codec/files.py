"""Bodies that are no JSON: a file as a model's only input, or a form with a field for each input (RFC 7578)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import HubError, bad_input, shown
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes
from inferencehub.gateway.json_codec.instances_json import column
from inferencehub.gateway.json_codec.json_text import load

CONTENT_TYPE = b"content-type"
MEDIA = ("image/", "audio/", "video/")
ANY_FILE = "application/octet-stream"
FORM = "multipart/form-data"
MOST_PARTS = 256
SPACE = 64  # bytes at the ends of a JSON text that may be white space
Make = Callable[[ModelInfo], InferRequest]


class Part(NamedTuple):
    """A field of a form: its name, the name of its file ("" if it is none), and its bytes."""

    name: str
    filename: str
    data: bytes


def maker_of(body: Body, kind: str, version: str) -> Make | None:
    """Makes the request of a body that is a file or a form, once its model is known; None if it is JSON.

    Args:
        body: of the call.
        kind: its content type.
        version: the version to call; "" for the default version.
    """
    media = kind.strip().lower()
    # Some clients call all bodies application/octet-stream.
    if not may_be_file(kind) or (media.startswith(ANY_FILE) and is_object(body)):
        return None
    if media.startswith(FORM):
        return partial(form_request, version=version, body=body, kind=kind.strip())
    return partial(file_request, version=version, data=body)


def is_object(body: Body) -> bool:
    """Whether a body looks like a JSON object, by its ends: a text from an editor ends with a new line."""
    begin, end = bytes(body[:SPACE]).lstrip(), bytes(body[-SPACE:]).rstrip()
    return begin[:1] == b"{" and end[-1:] == b"}"


def may_be_file(kind: str) -> bool:
    """Whether a body of this content type is a file or a form, or may be one."""
    return kind.strip().lower().startswith((*MEDIA, ANY_FILE, FORM))


def file_hint(info: ModelInfo, body: Body, kind: str) -> str:
    """What to say of a body that could not be read as JSON, and may be a file: how a file is sent. "" if it is none.

    Args:
        info: the model.
        body: of the call.
        kind: its content type; "" without one.
    """
    if not takes_file(info) or bytes(body[:SPACE]).lstrip()[:1] in b"{[":
        return ""
    name = info.signature.inputs[0].name
    return (
        f"it came {f'as {kind[:80]}' if kind else 'without a content type'}; to send a file, say what it is (curl -H "
        f"'Content-Type: image/jpeg' --data-binary @x.jpg) or send a form (curl -F {name[:80]}=@x.jpg)"
    )


def takes_file(info: ModelInfo) -> bool:
    """Whether a model's only input is of BYTES, so that a file can be it."""
    signature = info.signature
    return bool(signature.inputs) and signature.first_is_all and signature.inputs[0].dtype == "BYTES"


def file_request(info: ModelInfo, version: str, data: Body) -> InferRequest:
    """A request whose only input is a file: one element of BYTES.

    Raises:
        HubError: BAD_INPUT if the model takes something else.
    """
    signature = info.signature
    if not takes_file(info):
        takes = [f"'{spec.name}' {spec.dtype}" for spec in signature.inputs]
        raise bad_input(
            f"model '{info.name}' takes {', '.join(takes) or 'nothing'}, expected one input of BYTES for a body that is a "
            "file; send JSON, a form with a field for each input, or the tensor's bytes with Inference-Header-Content-Length 0"
        )
    spec = signature.inputs[0]
    return InferRequest(info.name, version, (elements(info, spec, [bytes(data)]),))


def form_request(info: ModelInfo, version: str, body: Body, kind: str) -> InferRequest:
    """A request with a field for each input. A field that comes several times has several rows.

    A field of BYTES is a file or a text, taken as it is. Any other field is JSON: a number, or an array as long as a row.

    Args:
        info, version: the model.
        body: the form.
        kind: its content type.

    Raises:
        HubError: BAD_INPUT naming the field, what was expected and what came.
    """
    fields: dict[str, list[bytes]] = {}
    for part in parts_of(body, kind):
        fields.setdefault(part.name, []).append(part.data)
    specs = {spec.name: spec for spec in info.signature.inputs}
    for name in fields.keys() - specs.keys():
        raise bad_input(
            f"model '{info.name}' has no input '{name[:80]}' for this field of the form, expected {shown(info.signature.names)}"
        )
    inputs = [
        elements(info, specs[name], values)
        if specs[name].dtype == "BYTES"
        else numbers(info, specs[name], values)
        for name, values in fields.items()
    ]
    return InferRequest(info.name, version, tuple(inputs))


def elements(info: ModelInfo, spec: TensorSpec, values: list[bytes]) -> Tensor:
    """An input of BYTES with these elements: a row each, or all of the only row if the model does not batch.

    Raises:
        HubError: BAD_INPUT if its shape is of something else.
    """
    row = spec.shape[1:] if info.signature.max_batch_size else spec.shape
    if info.signature.max_batch_size or spec.any_shape:
        shape = (len(values), *[1] * len(row))
    else:
        first = next((index for index, dim in enumerate(row) if dim in (-1, len(values))), 0)
        shape = tuple([len(values) if index == first else 1 for index in range(len(row))])
    return checked_tensor(spec.name, spec.dtype, shape, pack_bytes(values))


def numbers(info: ModelInfo, spec: TensorSpec, values: list[bytes]) -> Tensor:
    """An input of numbers, from JSON: a row for each value.

    Raises:
        HubError: BAD_INPUT if a value is none.
    """
    for value in values:
        try:
            load(value)
        except HubError:
            raise bad_input(
                f"field '{spec.name}' of the form: expected a number or an array of numbers, in JSON, got "
                f"{shown(value.decode('utf-8', 'replace'))}"
            ) from None
    rows = [msgspec.Raw(value if value.lstrip()[:1] == b"[" else b"[%b]" % value) for value in values]
    tensor = column(spec, rows)
    if info.signature.max_batch_size or len(values) > 1:
        return tensor
    return Tensor(tensor.name, tensor.dtype, tensor.shape[1:], tensor.data)


def parts_of(body: Body, kind: str, most: int = MOST_PARTS) -> Iterator[Part]:
    """The fields of a form, in their order. It copies them, which takes some ms for large ones.

    Args:
        body: the form.
        kind: its content type, which has the boundary.
        most: how many parts it may have.

    Raises:
        HubError: BAD_INPUT if it is no form.
    """
    media, options = parse_options_header(kind)
    if media != FORM or not options.get("boundary"):
        raise bad_input(f"expected a form (multipart/form-data with a boundary), got {shown(kind)}")
    segment: MultipartSegment | None = None
    read: list[bytes] = []
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=most, strict=True) as parser:
            for event in parser.parse(bytes(body)):  # it may be a view
                if isinstance(event, MultipartSegment):
                    segment, read = event, []
                elif event is not None:
                    read.append(bytes(event))
                elif segment is not None:
                    yield Part(segment.name or "", segment.filename or "", b"".join(read))
    except MultipartError as error:
        raise bad_input(f"the body is no form: {error.args[0]}") from None
