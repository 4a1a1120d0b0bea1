"""Values to messages of the Open Inference Protocol and back. Only this file turns a `Tensor` into a message.

Tensors are sent only as `raw_input_contents` and `raw_output_contents`. The protocol also allows typed contents, which
are easier to write by hand, and which some servers answer with; they are read but never sent. Our own parameters are in
`extension.py`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inferencehub.core.oip.extension import MEMBERS, OURS
from inferencehub.core.oip.raw_fields import LARGE_ANSWER, written_answer
from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.parameters import CLASSIFICATION, check_tensor_parameters, class_count, reserved
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.tensors import Buffer, Tensor, checked_tensor, pack_bytes
from inferencehub.pb import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
STREAM_METHOD = f"/{SERVICE}/ModelStreamInfer"
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
if sys.byteorder != "little":
    raise ImportError("raw tensors are little-endian, and so must this machine be")


def request_head(request: InferRequest, members: str = "") -> pb.ModelInferRequest:
    """The message of a request, without its raw contents.

    Args:
        request: the request.
        members: the calls that were merged into the request, see `extension.members_to_text`; "" if it is not a merge.
    """
    message = pb.ModelInferRequest(model_name=request.model, model_version=request.version)
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
    for name in request.outputs:
        message.outputs.add(name=name)
    for output, count in zip(message.outputs, request.classes, strict=False):
        if count:
            output.parameters[CLASSIFICATION].int64_param = count
    for name, value in request.parameters.items():
        set_parameter(message.parameters[name], value)
    if members:
        message.parameters[MEMBERS].string_param = members
    return message


def request_from_proto(
    message: pb.ModelInferRequest, raw_contents: Sequence[Buffer] | None = None
) -> InferRequest:
    """A request from its message, without our own parameters (`hub_…`).

    Args:
        message: the message.
        raw_contents: the request's raw contents if they are not in the message (see `core/oip/raw_fields.py`).

    Raises:
        HubError: BAD_INPUT if the contents do not fit the tensors.
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
        elif tensor.HasField("contents") and tensor.contents.ByteSize():
            raise bad_input(
                f"input '{tensor.name}': contents and raw_input_contents both, expected one of them"
            )
        else:
            data = raw[index]
        if tensor.parameters:
            check_tensor_parameters(f"input '{tensor.name[:80]}'", parameters_from_proto(tensor.parameters))
        inputs.append(checked_tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    outputs = tuple([output.name for output in message.outputs]) if message.outputs else ()
    parameters = parameters_from_proto(message.parameters) if message.parameters else {}
    classes = classes_from_proto(message.outputs) if outputs else ()
    return InferRequest(
        message.model_name, message.model_version, tuple(inputs), outputs, parameters, classes
    )


def with_parameters(data: bytes, more: Mapping[str, Parameter]) -> bytes:
    """A serialized ModelInferRequest with these parameters besides its own.

    Messages that stand one behind the other are one message, whose maps have the entries of all (Protocol Buffers, "Encoding").
    """
    head = pb.ModelInferRequest()
    for name, value in more.items():
        set_parameter(head.parameters[name], value)
    return data + head.SerializeToString()


def refuse_ours(message: pb.ModelInferRequest) -> None:
    """Refuse a caller's request that has parameters of our own (`hub_…`); between the tiers they have an effect.

    Raises:
        HubError: BAD_INPUT that names the parameter.
    """
    for parameters in (message.parameters, *[output.parameters for output in message.outputs]):
        for name in parameters:
            if name.startswith(OURS):
                raise reserved(name)


def classes_from_proto(
    outputs: Iterable[pb.ModelInferRequest.InferRequestedOutputTensor],
) -> tuple[int, ...]:
    """How many classes each output is asked for, as in `InferRequest.classes`.

    Raises:
        HubError: BAD_INPUT or UNSUPPORTED for a parameter of an output that this server does not have.
    """
    counts = []
    for output in outputs:
        parameters = parameters_from_proto(output.parameters)
        check_tensor_parameters(f"output '{output.name[:80]}'", parameters)
        counts.append(class_count(output.name, parameters))
    return tuple(counts) if any(counts) else ()


def typed_contents(
    tensor: pb.ModelInferRequest.InferInputTensor | pb.ModelInferResponse.InferOutputTensor,
    what: str = "input",
) -> bytes:
    """The typed contents of an input or output as raw bytes.

    Args:
        tensor: the message.
        what: "input" or "output", for the error.

    Raises:
        HubError: BAD_INPUT if the datatype has no typed contents, or if a value does not fit it.
    """
    field, code = CONTENTS.get(tensor.datatype, ("", ""))
    if not field:
        raise bad_input(f"{what} '{tensor.name}': {tensor.datatype} goes in raw_{what}_contents only")
    values = getattr(tensor.contents, field)
    if not code:
        return pack_bytes(values)
    try:
        return array(code, values).tobytes()
    except OverflowError:
        raise bad_input(f"{what} '{tensor.name}': a value does not fit {tensor.datatype}") from None


def fill_response(message: pb.ModelInferResponse, response: InferResponse, id: str) -> None:
    """Write an answer into an empty message. The message may be a field of another message."""
    fill_head(message, response, id)
    add_contents(message, response)


def fill_head(message: pb.ModelInferResponse, response: InferResponse, id: str) -> None:
    """Write an answer without its raw contents into an empty message."""
    message.model_name, message.model_version, message.id = response.model, response.version, id
    describe_outputs(message, response)
    for name, value in response.parameters.items():
        set_parameter(message.parameters[name], value)


def add_outputs(message: pb.ModelInferResponse, response: InferResponse) -> None:
    """Write the outputs of an answer behind those that the message has."""
    describe_outputs(message, response)
    add_contents(message, response)


def describe_outputs(message: pb.ModelInferResponse, response: InferResponse) -> None:
    """Write the names, dtypes and shapes of an answer's outputs."""
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)


def add_contents(message: pb.ModelInferResponse, response: InferResponse) -> None:
    """Write the raw contents of an answer's outputs."""
    for tensor in response.outputs:
        message.raw_output_contents.append(bytes(tensor.data))


def answer_to_proto(response: InferResponse, id: str) -> pb.ModelInferResponse | bytes:
    """The message of an answer, serialized if it is large."""
    message = pb.ModelInferResponse()
    if response.size < LARGE_ANSWER:
        fill_response(message, response, id)
        return message
    fill_head(message, response, id)
    return written_answer(message, [tensor.data for tensor in response.outputs])


def response_from_proto(message: pb.ModelInferResponse) -> InferResponse:
    """A pod's answer from its message, without our own parameters (`hub_…`).

    Raises:
        ValueError: as `outputs_from_proto`.
    """
    outputs, parameters = outputs_from_proto(message), parameters_from_proto(message.parameters)
    return InferResponse(message.model_name, message.model_version, outputs, parameters)


def outputs_from_proto(message: pb.ModelInferResponse) -> tuple[Tensor, ...]:
    """The outputs in a pod's message.

    Raises:
        ValueError: if the number of raw buffers is not the number of outputs, or if the contents of an output do not fit
            its datatype and shape.
    """
    raw: Sequence[Buffer] = message.raw_output_contents
    try:
        if not raw and any(tensor.HasField("contents") or 0 in tensor.shape for tensor in message.outputs):
            raw = [typed_output(tensor) for tensor in message.outputs]
        elif len(raw) != len(message.outputs):
            raise ValueError(f"{len(raw)} raw_output_contents for {len(message.outputs)} outputs")
        outputs = [
            checked_tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)
            for tensor, data in zip(message.outputs, raw, strict=True)
        ]
    except HubError as error:  # the server's fault, and not the caller's
        raise ValueError(error.detail) from None
    return tuple(outputs)


def typed_output(tensor: pb.ModelInferResponse.InferOutputTensor) -> bytes:
    """The typed contents of an output as raw bytes.

    Raises:
        HubError: BAD_INPUT as `typed_contents`, or if values are in a field for another datatype.
    """
    field, _ = CONTENTS.get(tensor.datatype, ("", ""))
    others = [other.name for other, _ in tensor.contents.ListFields() if other.name != field]
    if field and others:
        raise bad_input(f"output '{tensor.name}': {tensor.datatype} in {others[0]}, expected {field}")
    return typed_contents(tensor, "output")


def set_parameter(target: pb.InferParameter, value: Parameter) -> None:
    """Write a parameter's value into the field for its type."""
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
    """The parameters of a message, except our own (`hub_…`) and those without a value."""
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
