"""What the gateway adds to a call at one client: `python -m bench.studies.overhead`.

The same features go through the gateway (HTTP, JSON, /predict) and directly to the pod (gRPC, ModelInfer, bytes), in
turns, so both see the same machine. Both clients block and do as little as possible: requests are built before, the
HTTP client is a bare socket, and the gRPC client sends bytes. The direct call includes the time of grpcio's client; the
call through the gateway includes the time of the gateway's own client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import grpc

from bench.load.connection import http
from bench.servers.stack import Stack, mock_config, running_stack
from inferencehub.pb import open_inference_pb2 as pb

GOAL_MS = 5.0
DELAYS = {"at-once": 0.0, "soon": 5.0, "slow": 500.0}  # ms
FEATURES = [0.5, 1.0, 1.5]
WARM_UP = 5


class Through:
    """A kept connection to the gateway."""

    def __init__(self, stack: Stack, model: str) -> None:
        self.socket = socket.create_connection((stack.host, stack.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = http("POST", "/predict", {"model_name": model, "features": FEATURES})

    def call(self) -> bytes:
        """The whole answer."""
        self.socket.sendall(self.request)
        answer = self.socket.recv(65536)
        while not answer.endswith(b"}"):
            answer += self.socket.recv(65536)
        return answer

    def prediction(self) -> tuple[int, float]:
        """Class and confidence."""
        head, _, body = self.call().partition(b"\r\n\r\n")
        answer = json.loads(body)
        if b" 200 " not in head:
            raise SystemExit(f"the gateway answers {answer}")
        return answer["class_id"], answer["confidence"]


class Direct:
    """A channel to the pod."""

    def __init__(self, stack: Stack, model: str) -> None:
        self.channel = grpc.insecure_channel(stack.pod, options=[("grpc.enable_http_proxy", 0)])
        self.method: Callable[..., bytes] = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer"
        )
        message = pb.ModelInferRequest(model_name=model)
        message.inputs.add(name="features", datatype="FP32", shape=[len(FEATURES)])
        message.raw_input_contents.append(struct.pack(f"<{len(FEATURES)}f", *FEATURES))
        self.request = message.SerializeToString()

    def call(self) -> bytes:
        """The answer's bytes."""
        return self.method(self.request, timeout=30)

    def prediction(self) -> tuple[int, float]:
        """Class and confidence."""
        raw = pb.ModelInferResponse.FromString(self.call()).raw_output_contents
        return struct.unpack("<i", raw[0])[0], struct.unpack("<f", raw[1])[0]


def timed(call: Callable[[], bytes]) -> float:
    """Milliseconds of a call."""
    began = perf_counter()
    call()
    return (perf_counter() - began) * 1e3


def compare(stack: Stack, model: str, seconds: float) -> tuple[float, float, int]:
    """p50 in ms through the gateway and straight, and how many calls went each way."""
    through, direct = Through(stack, model), Direct(stack, model)
    for _ in range(WARM_UP):
        ours, theirs = through.prediction(), direct.prediction()
        if ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > 1e-4:
            raise SystemExit(f"model '{model}': {ours} through the gateway, {theirs} straight")
    pairs: list[tuple[float, float]] = []
    ends = perf_counter() + seconds
    while perf_counter() < ends:
        pairs.append((timed(through.call), timed(direct.call)))
    through.socket.close()
    direct.channel.close()
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs), len(pairs)


async def main() -> int:
    """All delays; exit code 1 where the gateway adds more than the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.overhead", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each delay (%(default)s)")
    parser.add_argument("--pin", action="store_true", help="both tiers on core 0, the caller on core 1")
    options = parser.parse_args()
    worst = 0.0
    more = {name: mock_config(delay, 4) for name, delay in DELAYS.items()}
    print(f"{'model waits':>11} {'through p50':>12} {'direct p50':>12} {'added':>9}  pairs")
    with running_stack(more, options.pin) as stack:
        for name, delay in DELAYS.items():
            await stack.until_ready(name)
            through, direct, count = compare(stack, name, options.seconds)
            worst = max(worst, through - direct)
            print(f"{delay:8.0f} ms {through:9.3f} ms {direct:9.3f} ms {through - direct:6.3f} ms  {count}")
    print(f"the gateway adds {worst:.3f} ms at most (goal {GOAL_MS:g} ms)")
    return 0 if worst <= GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
