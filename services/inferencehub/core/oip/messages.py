"""Values to protobuf and back: the one place where a `Tensor` becomes a message of the Open Inference Protocol.

Tensors travel only as `raw_input_contents` and `raw_output_contents`. Typed contents, which the protocol also allows
and which people type by hand, are read but never written.

What is ours travels in parameters whose names begin with `hub_`, and only to a peer that announced `EXTENSION`:

    request   hub_members     JSON: one [rows, microseconds left, id] for each call merged into this one
    response  hub_queue_us    microseconds it waited for an instance
              hub_compute_us  microseconds it ran
              hub_free        instances that were free when the answer left
              hub_dropped     indices of members left out, with commas, because their deadline had passed

A pod that announces `STREAM_PORT` also takes a standing ModelStreamInfer there, begun by either side with metadata
`STREAM`: the bytes of the largest message that it takes. On it a call is known by its `id`, and in addition travel:

    request   hub_cancel      nobody waits for the call with this id any more; not a call, and not answered
    response  hub_code        name of the gRPC status, where error_message says what went wrong
              hub_refused     with it: the call was never begun, and may go to another pod
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from inferencehub.core.lane.job import Member
from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import Buffer, Tensor, pack_bytes
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
EXTENSION = "inferencehub"
POOL = "inferencehub_pool="  # with it begins the extension by which a pod says its pool
# Trailer of a call that a pod had no room for: it never started, and may go to another one.
REFUSED = "hub-refused"
STREAM_PORT = "inferencehub_stream_port="  # and with this one the port of its streams
STREAM_METHOD = f"/{SERVICE}/ModelStreamInfer"
STREAM = "hub-stream"
CANCEL = "hub_cancel"
OURS = "hub_"
RAW_INPUT = bytes((pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2,))  # tag of bytes
PADDING = bytes((15 << 3 | 2,))
# Bytes from which on a message is not copied to be read, and it matters how a tensor lies in it.
LARGE = 2**15

# Typed contents of each dtype: the field, and the array type code of one element ("" for those that are not numbers).
CONTENTS = {
    "BOOL": ("bool_contents", "b"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}
# Members as JSON: rows at least one, and a time that a float holds.
MEMBERS: msgspec.json.Decoder[list[tuple[int, int, str]]] = msgspec.json.Decoder(
    Annotated[
        list[
            tuple[
                Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)], str
            ]
        ],
        msgspec.Meta(min_length=1),
    ]
)
TYPE_NAMES = {number: name.removeprefix("TYPE_") for name, number in config_pb.DataType.items()}
TYPE_NAMES[config_pb.TYPE_STRING] = "BYTES"

assert sys.byteorder == "little", "raw tensors are little-endian, and so must this machine be"


def written(
    head: pb.ModelInferRequest, raw: Sequence[Sequence[Buffer]], aligned: bool = False
) -> list[Buffer]:
    """A request written out in parts, without a copy of its large raw contents, which `head` lacks.

    Protobuf takes fields in any order ("Encoding", "Field Order"), so that these may come last.

    Args:
        head: the request but for its raw contents.
        raw: these, each in parts.
        aligned: whether large ones begin at a multiple of 8 bytes, so that numbers can be read where they lie. What is
            left free in front of them is a field that the protocol does not have.
    """
    parts: list[Buffer] = [head.SerializeToString()]
    at = len(parts[0])
    for data in raw:
        size = sum(map(len, data))
        mark = RAW_INPUT + varint(size)
        if size < LARGE:
            parts.append(b"".join([mark, *data]))
        else:
            if aligned:
                mark = padding(at + len(mark)) + mark
            parts += (mark, *data)
        at += len(mark) + size
    return parts


def padding(at: int) -> bytes:
    """A field of no meaning that ends at a multiple of 8 bytes from an offset that is none; b"" where it is one."""
    free = -at % 8
    if not free:
        return b""
    size = free - 2 if free > 1 else free + 6
    return PADDING + bytes((size,)) + bytes(size)


def varint(number: int) -> bytes:
    """A whole number from 0 as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def request_head(request: InferRequest, members: Sequence[tuple[int, int, str]] = ()) -> pb.ModelInferRequest:
    """A request but for its raw contents."""
    message = pb.ModelInferRequest(model_name=request.model, model_version=request.version)
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
    for name in request.outputs:
        message.outputs.add(name=name)
    for name, value in request.parameters.items():
        set_parameter(message.parameters[name], value)
    if members:
        message.parameters["hub_members"].string_param = msgspec.json.encode(members).decode()
    return message


def request_from_proto(
    message: pb.ModelInferRequest, raw_contents: Sequence[Buffer] | None = None
) -> InferRequest:
    """A request as it came; parameters of ours are left out.

    Args:
        message: the request.
        raw_contents: its raw contents, where they are not in the message, see `core/oip/raw_fields.py`.

    Raises:
        HubError: BAD_INPUT where contents and tensors do not fit each other.
    """
    raw = message.raw_input_contents if raw_contents is None else raw_contents
    if raw and len(raw) != len(message.inputs):
        raise bad_input(
            f"{len(raw)} raw_input_contents for {len(message.inputs)} inputs, expected one for each"
        )
    inputs = []
    for index, tensor in enumerate(message.inputs):
        if not raw:
            data: Buffer = typed_contents(tensor)
        elif tensor.HasField("contents"):
            raise bad_input(
                f"input '{tensor.name}': contents and raw_input_contents both, expected one of them"
            )
        else:
            data = raw[index]
        inputs.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    outputs = tuple([output.name for output in message.outputs]) if message.outputs else ()
    parameters = parameters_from_proto(message.parameters) if message.parameters else {}
    return InferRequest(message.model_name, message.model_version, tuple(inputs), outputs, parameters)


def typed_contents(tensor: pb.ModelInferRequest.InferInputTensor) -> bytes:
    """The typed contents of an input, as raw bytes."""
    field, code = CONTENTS.get(tensor.datatype, ("", ""))
    if not field:
        raise bad_input(f"input '{tensor.name}': {tensor.datatype} goes in raw_input_contents only")
    values = getattr(tensor.contents, field)
    if not code:
        return pack_bytes(values)
    try:
        return array(code, values).tobytes()
    except OverflowError:
        raise bad_input(f"input '{tensor.name}': a value does not fit {tensor.datatype}") from None


def fill_response(message: pb.ModelInferResponse, response: InferResponse, id: str) -> None:
    """Write an answer into a message that is new, perhaps part of another."""
    message.model_name, message.model_version, message.id = response.model, response.version, id
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
        message.raw_output_contents.append(bytes(tensor.data))
    for name, value in response.parameters.items():
        set_parameter(message.parameters[name], value)


def response_from_proto(message: pb.ModelInferResponse) -> InferResponse:
    """An answer as it came from a pod; parameters of ours are left out.

    Raises:
        ValueError: where outputs and raw buffers do not fit each other.
    """
    raw = message.raw_output_contents
    if len(raw) != len(message.outputs):
        raise ValueError(f"{len(raw)} raw_output_contents for {len(message.outputs)} outputs")
    outputs = [
        Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)
        for tensor, data in zip(message.outputs, raw, strict=True)
    ]
    return InferResponse(
        message.model_name, message.model_version, tuple(outputs), parameters_from_proto(message.parameters)
    )


def cancel_to_proto(id: str) -> pb.ModelInferRequest:
    """The message that nobody waits any more for the call `id` of a standing stream."""
    message = pb.ModelInferRequest(id=id)
    message.parameters[CANCEL].bool_param = True
    return message


def failure_to_proto(id: str, code: str, detail: str, refused: bool = False) -> bytes:
    """The answer, written out, that the call `id` of a standing stream failed; `code` names a gRPC status."""
    reply = pb.ModelStreamInferResponse(error_message=detail or code)
    reply.infer_response.id = id
    reply.infer_response.parameters["hub_code"].string_param = code
    if refused:
        reply.infer_response.parameters["hub_refused"].bool_param = True
    return reply.SerializeToString()


def failure_from_proto(reply: pb.ModelStreamInferResponse) -> tuple[str, str, bool]:
    """Name of the gRPC status, sentence, and whether the call was never begun."""
    parameters = reply.infer_response.parameters
    code = parameters["hub_code"].string_param if "hub_code" in parameters else ""
    return code, reply.error_message, "hub_refused" in parameters


def members_from_proto(text: str, now: float, latest: float) -> tuple[Member, ...]:
    """The members of a merged call; none is wanted for longer than the call, until `latest`.

    Raises:
        HubError: BAD_INPUT where the text is not as described at the top.
    """
    try:
        listed = MEMBERS.decode(text)
    except msgspec.DecodeError:
        raise bad_input("parameter 'hub_members': expected a JSON list of [rows, microseconds, id]") from None
    return tuple([Member(rows, min(latest, now + left / 1e6), id) for rows, left, id in listed])


def stream_port_of(extensions: Iterable[str]) -> int:
    """The port of a server's streams, as its extensions tell; 0 where they tell none."""
    told = next((name.removeprefix(STREAM_PORT) for name in extensions if name.startswith(STREAM_PORT)), "")
    return int(told) if told.isdecimal() else 0


def pool_of(extensions: Iterable[str]) -> str:
    """The pool that a server's extensions name; "" where they name none."""
    return next((name.removeprefix(POOL) for name in extensions if name.startswith(POOL)), "")


def set_parameter(target: pb.InferParameter, value: Parameter) -> None:
    """Write a parameter's value in the kind that its type says."""
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        if -(2**63) <= value < 2**63:
            target.int64_param = value
        else:
            target.uint64_param = value
    elif isinstance(value, float):
        target.double_param = value
    else:
        target.string_param = value


def parameters_from_proto(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    """The parameters that are not ours; one without a value is left out."""
    read: dict[str, Parameter] = {}
    for name in parameters:
        if name.startswith(OURS):
            continue
        parameter = parameters[name]
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            value: Any = getattr(parameter, kind)
            read[name] = value
    return read


def spec_to_proto(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """An input or output as ModelMetadata shows it."""
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.dtype, shape=spec.shape)


def info_from_proto(
    version: str, metadata: pb.ModelMetadataResponse, config: config_pb.ModelConfig | None, slots: int
) -> ModelInfo:
    """What a backend says of one of its models; `slots` is used where it tells no instance count.

    Args:
        version: the version that was asked for.
        metadata: ModelMetadata's answer.
        config: ModelConfig's, None where the backend has no such call.
        slots: batches it may be given at a time, if it does not say so.
    """
    optional = {tensor.name for tensor in config.input if tensor.optional} if config else set()
    inputs = [TensorSpec(t.name, t.datatype, tuple(t.shape), t.name in optional) for t in metadata.inputs]
    outputs = [TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in metadata.outputs]
    return ModelInfo(
        metadata.name,
        version,
        metadata.platform,
        Signature(tuple(inputs), tuple(outputs), config.max_batch_size if config else 0),
        (sum(group.count for group in config.instance_group) if config else 0) or slots,
        parameters_of(config) if config else (),
    )


def parameters_of(config: config_pb.ModelConfig) -> tuple[tuple[str, str], ...]:
    """A config's string parameters, sorted by name."""
    return tuple(sorted((name, value.string_value) for name, value in config.parameters.items()))
