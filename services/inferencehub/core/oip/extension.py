"""Our extension of the Open Inference Protocol: parameters, metadata and trailers whose names begin with `hub`.

What is ours travels in parameters whose names begin with `hub_`, and only to a peer that announced `EXTENSION`:

    request   hub_members     JSON: one [rows, microseconds left, id] for each call merged into this one
    response  hub_queue_us    microseconds it waited for an instance
              hub_compute_us  microseconds it ran
              hub_free        instances that were free when the answer left
              hub_dropped     indices of members left out, with commas, because their deadline had passed

A pod that announces `STREAM_PORT` also takes a standing ModelStreamInfer there, begun by either side with metadata
`STREAM`: the bytes of the largest message that it takes. On it a call is known by its `id`, and in addition travel:

    request   hub_cancel      nobody waits for the call with this id any more; not a call, and not answered
    response  hub_part        one of several answers to the call; more, or its end, will follow
              hub_end         the end of a call whose answers were all parts; there is none in this message
              hub_code        name of the gRPC status, where error_message says what went wrong
              hub_refused     with it: the call was never begun, and may go to another pod
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from inferencehub.core.lane.job import Member
from inferencehub.core.values.errors import bad_input
from inferencehub.pb import open_inference_pb2 as pb

EXTENSION = "inferencehub"
POOL = "inferencehub_pool="  # with it begins the extension by which a pod says its pool
# Trailer of a call that a pod had no room for: it never started, and may go to another one.
REFUSED = "hub-refused"
STREAM_PORT = "inferencehub_stream_port="  # and with this one the port of its streams
STREAM = "hub-stream"
CANCEL = "hub_cancel"
PART = "hub_part"
END = "hub_end"
MEMBERS = "hub_members"
OURS = "hub_"
# Members as JSON: rows at least one, and a time that a float holds.
_members: msgspec.json.Decoder[list[tuple[int, int, str]]] = msgspec.json.Decoder(
    Annotated[
        list[
            tuple[
                Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)], str
            ]
        ],
        msgspec.Meta(min_length=1),
    ]
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
        listed = _members.decode(text)
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
