"""The fronts of a hub and the encodings of each, as ways to send one tensor through a model that returns it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Buffer, Tensor, pack_bytes, unpack_bytes
from inferencehub.inference.runtimes.support.arrays import NUMPY
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub
from tests.inference.pod_processes import infer_of
from tests.written import request_to_proto

SIZE = "Inference-Header-Content-Length"

# Sends a tensor to a model, and returns its output of this name.
Send = Callable[[str, Tensor, str], Awaitable[Tensor]]


@dataclass
class Way:
    """An encoding of a front.

    Args:
        send: sends a tensor.
        takes: whether the encoding can carry a tensor.
        exact: whether it keeps the bits of a NaN.
    """

    send: Send
    takes: Callable[[Tensor], bool]
    exact: bool


def ways(hub: Hub, gateway: grpc.aio.Channel, pod: grpc.aio.Channel) -> dict[str, Way]:
    """All ways, by name; `gateway` and `pod` are channels to their gRPC ports."""

    async def in_json(model: str, tensor: Tensor, output: str) -> Tensor:
        values = values_of(tensor)
        text = json.dumps({**asked(tensor, output), "inputs": [{**head(tensor), "data": values}]})
        (answer, _) = await post(hub, model, text.encode(), {})
        (found,) = answer["outputs"]
        return Tensor(
            found["name"], found["datatype"], tuple(found["shape"]), from_values(tensor.dtype, found["data"])
        )

    async def in_binary(model: str, tensor: Tensor, output: str) -> Tensor:
        given = {**head(tensor), "parameters": {"binary_data_size": len(tensor.data)}}
        text = json.dumps(
            {**asked(tensor, output), "inputs": [given], "parameters": {"binary_data_output": True}}
        )
        headers = {SIZE: str(len(text))}
        return output_of(*await post(hub, model, text.encode() + bytes(tensor.data), headers))

    def over_grpc(channel: grpc.aio.Channel, typed: bool) -> Send:
        async def send(model: str, tensor: Tensor, output: str) -> Tensor:
            return read(await infer_of(channel)(request(model, tensor, output, typed)))

        return send

    def over_stream(channel: grpc.aio.Channel) -> Send:
        async def send(model: str, tensor: Tensor, output: str) -> Tensor:
            call = stream_of(channel)()
            await call.write(request(model, tensor, output, False))
            await call.done_writing()
            reply = await call.read()
            assert not reply.error_message, reply.error_message
            assert await call.read() is grpc.aio.EOF
            return read(reply.infer_response)

        return send

    found = {
        "HTTP, JSON": Way(in_json, in_json_at_all, False),
        "HTTP, binary": Way(in_binary, anything, True),
    }
    for tier, channel in (("gateway", gateway), ("pod", pod)):
        found[f"{tier}, gRPC, raw"] = Way(over_grpc(channel, False), anything, True)
        found[f"{tier}, gRPC, typed"] = Way(over_grpc(channel, True), has_typed_contents, False)
        found[f"{tier}, gRPC, stream"] = Way(over_stream(channel), anything, True)
    return found


def anything(tensor: Tensor) -> bool:
    """Whether raw bytes can carry a tensor."""
    return True


def has_typed_contents(tensor: Tensor) -> bool:
    """Whether the protocol has typed contents of a tensor's datatype."""
    return tensor.dtype in messages.CONTENTS


def in_json_at_all(tensor: Tensor) -> bool:
    """Whether JSON can carry a tensor: it has no BF16, and only text."""
    if tensor.dtype != "BYTES":
        return tensor.dtype != "BF16"
    try:
        return all(each.decode() is not None for each in unpack_bytes(tensor.data))
    except UnicodeDecodeError:
        return False


async def post(hub: Hub, model: str, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes]:
    """The JSON of an answer, and the bytes behind it."""
    async with hub.client.post(f"{hub.url}/v2/models/{model}/infer", data=body, headers=headers) as answer:
        came = await answer.read()
        size = int(answer.headers.get(SIZE, len(came)))
        assert answer.status == 200, came[:300]
        return json.loads(came[:size]), came[size:]


def head(tensor: Tensor) -> dict[str, Any]:
    """A tensor in JSON, without its elements."""
    return {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.dtype}


def asked(tensor: Tensor, output: str) -> dict[str, Any]:
    """What a request in JSON has beside its inputs."""
    return {"id": tensor.name, "outputs": [{"name": output}]}


def output_of(answer: Any, rest: bytes) -> Tensor:
    """The one output of an answer, whose bytes are behind the JSON."""
    (found,) = answer["outputs"]
    assert found["parameters"] == {"binary_data_size": len(rest)}
    return Tensor(found["name"], found["datatype"], tuple(found["shape"]), rest)


def values_of(tensor: Tensor) -> list[Any]:
    """The elements of a tensor as Python has them."""
    if tensor.dtype == "BYTES":
        return [each.decode() for each in unpack_bytes(tensor.data)]
    return list(np.frombuffer(tensor.data, NUMPY[tensor.dtype]).tolist())


def from_values(dtype: str, values: list[Any]) -> bytes:
    """The raw bytes of elements in JSON; of floats, NaN and Infinity are strings."""
    if dtype == "BYTES":
        return pack_bytes([each.encode() for each in values])
    kind = float if dtype.startswith("FP") else int
    return np.array([kind(each) for each in values], NUMPY[dtype]).tobytes()


def request(model: str, tensor: Tensor, output: str, typed: bool) -> pb.ModelInferRequest:
    """A request of one input over gRPC."""
    message = request_to_proto(InferRequest(model, "", (tensor,), (output,)))
    if typed:
        del message.raw_input_contents[:]
        field, _ = messages.CONTENTS[tensor.dtype]
        contents = getattr(message.inputs[0].contents, field)
        contents.extend(unpack_bytes(tensor.data) if tensor.dtype == "BYTES" else values_of(tensor))
    return message


def read(answer: pb.ModelInferResponse) -> Tensor:
    """The one output of an answer over gRPC, whose contents are always raw."""
    (output,), (data,) = answer.outputs, answer.raw_output_contents
    assert not output.HasField("contents")
    return Tensor(output.name, output.datatype, tuple(output.shape), data)


def stream_of(channel: grpc.aio.Channel) -> Any:
    """ModelStreamInfer at the other end of a channel."""
    return channel.stream_stream(
        messages.STREAM_METHOD,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )


def same_bits(came: Buffer, sent: Buffer) -> bool:
    """Whether two tensors have the same bytes."""
    return bytes(came) == bytes(sent)
