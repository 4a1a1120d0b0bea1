"""ModelInfer calls over gRPC for all model servers, and one that only our pod understands: merged requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from bench.load.questions import MODELS
from inferencehub.core.oip.messages import request_head
from inferencehub.core.oip.raw_fields import written
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"
MERGED = 16  # requests in a merged call
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
LEFT_US = 30_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """A message that is sent again and again: how many requests it holds, and over how many connections and streams.

    `through` says that it goes to the gateway, where a peer has one.
    """

    job: str
    title: str
    model: str
    peers: tuple[str, ...]
    connections: int
    streams: int
    merged: int = 1
    through: bool = False

    def message(self) -> bytes:
        """The protobuf bytes: the model's first row, as often as requests are merged."""
        model = MODELS[self.model]
        row = model.cases()[0].row.tobytes()
        tensor = Tensor(model.source, "FP32", (self.merged, *model.shape), row * self.merged)
        members = [(1, LEFT_US, f"bench-{index}") for index in range(self.merged)]
        text = json.dumps(members) if self.merged > 1 else ""
        request = InferRequest(self.model, "", (tensor,))
        return b"".join(written(request_head(request, text), [[tensor.data]]))


GRPC_PEERS = ("ours", "triton", "triton-batching", "mlserver")
CALLS = (
    Call("grpc-64", "3 floats, gRPC to the model server, 64 in flight", "three", GRPC_PEERS, 4, 16),
    Call("grpc-merged", "the same to our pod, 16 requests a call, 64 in flight", "three", ("ours",), 1, 4, MERGED),
    Call(
        "grpc-gateway-64", "3 floats, gRPC through our gateway, 64 in flight", "three", ("ours", "mlserver"), 4, 16,
        through=True,
    ),
    Call("grpc-image-8", "1x3x224x224, gRPC to the model server, 8 in flight", "image", GRPC_PEERS, 4, 2),
)  # fmt: skip


@contextmanager
def asking(port: int, call: Call) -> Iterator[Callable[[], str]]:
    """What asks once and tells what is wrong with the answer."""
    case, width = MODELS[call.model].cases()[0], MODELS[call.model].width
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        method: Callable[..., Any] = channel.unary_unary(
            INFER, response_deserializer=pb.ModelInferResponse.FromString
        )
        message = call.message()

        def ask() -> str:
            try:
                answer = method(message, timeout=30)
            except grpc.RpcError as error:
                return f"{error.code().name}: {error.details()}"[:120]
            raw = answer.raw_output_contents[0] if answer.raw_output_contents else b""
            rows = np.frombuffer(raw, np.float32).reshape(-1, width)
            right = len(rows) == call.merged and all(case.holds(row.tolist()) for row in rows)
            return "" if right else f"wrong answer {raw[:16]!r}"

        yield ask
