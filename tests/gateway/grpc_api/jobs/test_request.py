"""What a job of gRPC keeps of its request: the same layout with a trace, a header and without, for gateways of the version before."""

from __future__ import annotations

import pytest

from inferencehub.core.traces.sampling import Sampler, child_of
from inferencehub.gateway.grpc_api.jobs.request import (
    MARK,
    MOST_STICKY,
    MOST_TRACE,
    STICKY,
    TRACED,
    packed,
    unpacked,
)
from inferencehub.pb import open_inference_pb2 as pb
from tests.inference.pod_processes import features

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def kept(trace: str, sticky: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """A request as it is kept, and the serialized message."""
    message = features("quick", 1.0, 2.0)
    data = message.SerializeToString()
    return packed("one", data, message, message.raw_input_contents, trace, sticky)[0], data


@pytest.mark.parametrize("trace", ["", PARENT, f"{PARENT} a=1", f"{PARENT} {'a' * 512}"])
@pytest.mark.parametrize("sticky", [{}, {b"x-user": b"a:\xff"}, {b"x": b"a" * (MOST_STICKY - 2)}])
def test_both_come_back_and_who_knows_of_none_reads_the_rest(trace: str, sticky: dict[bytes, bytes]) -> None:
    whole, data = kept(trace, sticky)
    assert unpacked(whole) == ("one", data, trace, sticky)
    assert whole[:5] == MARK + b"\x03one"
    former = pb.ModelInferRequest.FromString(whole[5:])
    former.DiscardUnknownFields()
    assert former == pb.ModelInferRequest.FromString(data)


@pytest.mark.parametrize(
    "field",
    [
        TRACED + b"\x05\xff\xfe\x00ab",
        TRACED + b"\x85\x00\xff\xfe\x00ab",
        TRACED + b"\xff\x7f" + b"a" * 16383,
        TRACED + b"\x80\x7f",
        TRACED + b"\x80",
        TRACED,
        STICKY + b"\x82\x00ab",
        STICKY + b"\x82\x00:a",
        STICKY + b"\xff\x7f:",
        STICKY + b"\x80\x80\x00",
        STICKY,
    ],
)
def test_a_field_that_a_caller_has_sent_breaks_nothing(field: bytes) -> None:
    whole, data = kept("", {})
    id, rest, trace, sticky = unpacked(whole[: -len(data)] + field + data)
    assert (id, rest[-len(data) :]) == ("one", data)
    assert len(trace) <= MOST_TRACE
    assert child_of(trace) is None
    assert sticky in ({}, {b"": b"a"})


def test_the_longest_trace_has_a_place() -> None:
    fields = {b"traceparent": PARENT.encode(), b"tracestate": b"a" * 512}
    longest = Sampler(True, 1.0).begin(fields).kept
    assert 512 < len(longest) <= MOST_TRACE
