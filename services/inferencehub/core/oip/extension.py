"""Our extension of the Open Inference Protocol: parameters, metadata and trailers whose names begin with `hub`.

Our data travels in parameters whose names begin with `hub_`. They are sent only to a peer that has announced
`EXTENSION`:

    request   hub_members     JSON: one [rows, microseconds left, id] for each call that was merged into this one; with
                              caller and tenant behind them, if they are known and the pod has announced `CALLERS`
              hub_traceparent the run's place in its trace, for what the model calls, as in the header of that name; of a run
                              of several callers it is a trace of its own
              hub_tracestate  what goes with it
              hub_trace_ids   the ids of the traces of several callers, separated by commas, for the pod's access line
    response  hub_queue_us    microseconds that the call waited for an instance
              hub_compute_us  microseconds that the call ran
              hub_input_us    the part of them before the model itself ran
              hub_output_us   the part of them after the model itself ran
              hub_rows        rows of the run; only in one of the answers of a run, which counts the run
              hub_free        number of free instances when the answer was sent
              hub_dropped     comma-separated indices of the members that were not run: their deadline had passed

A pod that announces `REVISIONS` takes one more parameter of RepositoryModelLoad and RepositoryModelUnload:

    request   hub_revision    the number of the change, which grows. The pod makes each change once, and none that is older
                              than the one that it has made of this model

A pod that announces `STREAM_PORT` accepts long-lived ModelStreamInfer streams on that port ("standing streams"). Each
side begins the stream with the metadata `STREAM`: the size in bytes of the largest message that it accepts. On a
standing stream, a call is identified by its `id`. These parameters are added:

    request   hub_progress    somebody wants to know how far the call is
              hub_cancel      the caller no longer waits for the call with this id; this message has no answer
              hub_credit      answers of this weight to the call with this id have reached the caller (`core/lane/sink.py`);
                              this message has no answer
              hub_again       the call was lost with another pod before; a pod runs one such call at a time
    response  hub_begun       the pod has accepted a call with hub_again, and will run it; its answer will follow
              hub_part        one or more of several answers to the call: their weights, separated by commas; their
                              outputs follow each other; another part or the end will follow
              hub_progress    how far the call is, from 0 to 1, as its model has told; nothing else, and no answer. Servers
                              that do not know it give none, and so do models
              hub_end         the end of a call whose answers were all parts; this message contains no answer
              hub_code        name of the gRPC status code of a failed call; error_message has the sentence
              hub_kind        the kind of its error (`core/values/errors.py`), because several kinds share a code; with
                              hub_queue_us and hub_compute_us if the call has run
              hub_refused     together with hub_code: the call never started and may be sent to another pod
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from inferencehub.core.lane.job import Member
from inferencehub.core.values.errors import Kind, bad_input
from inferencehub.core.values.requests import Times
from inferencehub.pb import open_inference_pb2 as pb

EXTENSION = "inferencehub"
CALLERS = "inferencehub_callers"  # a pod that announces this takes callers and tenants in `hub_members`
REVISIONS = "inferencehub_revisions"  # a pod that announces this takes loads and unloads with `hub_revision`
REVISION = "hub_revision"
# Reasons in the index of a pod with HUB_MODEL_CONTROL=explicit: nobody wants the model there, and that is no fault.
NOT_LOADED, UNLOADED = NOT_WANTED = "it has not been loaded", "it was unloaded"
POOL = "inferencehub_pool="  # a pod announces its pool with an extension that begins like this
# Trailer of a call that a pod refused because it was full: the call never started and may be sent to another pod.
REFUSED = "hub-refused"
KIND = "hub-kind"  # trailer of a call that failed: the kind of its error
# Health name of a pod: SERVING from when its models are known until it drains, also while they are loaded.
OPEN = "probe/open"
# Health name of a pod that changes whenever its list of models does; the value itself means nothing.
LISTED = "probe/listed"
STREAM_PORT = "inferencehub_stream_port="  # a pod announces the port of its streams with this one
STREAM = "hub-stream"
# A pod that accepts a stream sends this metadata if it answers `hub_again` with `hub_begun`; older pods do not.
TELLS_BEGUN = "hub-tells-begun"
CANCEL = "hub_cancel"
CREDIT = "hub_credit"
AGAIN = "hub_again"
BEGUN = "hub_begun"
PART = "hub_part"
PROGRESS = "hub_progress"
END = "hub_end"
MEMBERS = "hub_members"
TRACE_PARENT, TRACE_STATE, TRACE_IDS = "hub_traceparent", "hub_tracestate", "hub_trace_ids"
DROPPED = "hub_dropped"
OURS = "hub_"
# Characters of one member of a merged call, at most; its id has 128 before JSON escapes it, its caller and tenant 200 each.
MEMBER_LENGTH = 2048


class Listed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A member as JSON: at least one row, and a time in microseconds that fits a float exactly."""

    rows: Annotated[int, msgspec.Meta(ge=1)]
    left: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    id: str
    caller: str = ""
    tenant: str = ""


_members = msgspec.json.Decoder(Annotated[list[Listed], msgspec.Meta(min_length=1)])


def add_trace(message: pb.ModelInferRequest, parent: str, state: str, ids: str) -> None:
    """Say a run's place in its trace.

    Args:
        message: gets it.
        parent: its `traceparent`.
        state: its `tracestate`; "" for none.
        ids: those of the traces of several callers; "" for one.
    """
    message.parameters[TRACE_PARENT].string_param = parent
    if state:
        message.parameters[TRACE_STATE].string_param = state
    if ids:
        message.parameters[TRACE_IDS].string_param = ids


def cancel_to_proto(id: str) -> pb.ModelInferRequest:
    """The message that cancels the call `id` of a standing stream."""
    message = pb.ModelInferRequest(id=id)
    message.parameters[CANCEL].bool_param = True
    return message


def credit_to_proto(id: str, weight: int) -> pb.ModelInferRequest:
    """The message that credits answers of the call `id` of a standing stream."""
    message = pb.ModelInferRequest(id=id)
    message.parameters[CREDIT].int64_param = weight
    return message


def begun_to_proto(id: str) -> bytes:
    """The serialized message that the call `id` of a standing stream, which was lost before, is accepted."""
    reply = pb.ModelStreamInferResponse()
    reply.infer_response.id = id
    reply.infer_response.parameters[BEGUN].bool_param = True
    return reply.SerializeToString()


def progress_to_proto(id: str, progress: float) -> bytes:
    """The serialized message that says how far the call `id` of a standing stream is, from 0 to 1."""
    reply = pb.ModelStreamInferResponse()
    reply.infer_response.id = id
    reply.infer_response.parameters[PROGRESS].double_param = progress
    return reply.SerializeToString()


def failure_to_proto(id: str, kind: Kind, detail: str, times: Times | None = None) -> bytes:
    """The serialized answer for a call of a standing stream that failed.

    Args:
        id: the call's id.
        kind: the kind of its error; BUSY says that the call never started and may be sent to another pod.
        detail: a sentence for the caller.
        times: how long it waited and ran; None if it did not.
    """
    reply = pb.ModelStreamInferResponse(error_message=detail or kind.grpc)
    reply.infer_response.id = id
    reply.infer_response.parameters["hub_code"].string_param = kind.grpc
    reply.infer_response.parameters["hub_kind"].string_param = kind.label
    if times is not None:
        reply.infer_response.parameters["hub_queue_us"].int64_param = round(times.queue * 1e6)
        reply.infer_response.parameters["hub_compute_us"].int64_param = round(times.compute * 1e6)
    if kind is Kind.BUSY:
        reply.infer_response.parameters["hub_refused"].bool_param = True
    return reply.SerializeToString()


def failure_from_proto(reply: pb.ModelStreamInferResponse) -> tuple[str, str, bool]:
    """Name of the gRPC status code, sentence, and whether the call was refused before it started."""
    parameters = reply.infer_response.parameters
    code = parameters["hub_code"].string_param if "hub_code" in parameters else ""
    return code, reply.error_message, "hub_refused" in parameters


def times_from_proto(response: pb.ModelInferResponse) -> Times | None:
    """How long a call waited and ran at the pod; None if the pod did not say it."""
    parameters = response.parameters
    if "hub_compute_us" not in parameters:
        return None
    queue, compute = parameters["hub_queue_us"].int64_param, parameters["hub_compute_us"].int64_param
    return Times(queue=queue / 1e6, compute=compute / 1e6)


def kind_from_proto(reply: pb.ModelStreamInferResponse) -> Kind | None:
    """The kind of the error of a call that failed; None if the pod did not say it."""
    parameters = reply.infer_response.parameters
    label = parameters["hub_kind"].string_param if "hub_kind" in parameters else ""
    return kind_of(label, failure_from_proto(reply)[0])


def kind_of(label: str, code: str) -> Kind | None:
    """The kind of error with this label; None if there is none, or if it does not have this gRPC status code."""
    return next((kind for kind in Kind if kind.label == label and kind.grpc == code), None)


def members_to_text(members: Sequence[Member], now: float, callers: bool) -> str:
    """The value of `hub_members`.

    Args:
        members: the calls that were merged.
        now: the present time, in seconds on the lane's clock.
        callers: whether the pod takes who calls.
    """
    listed = [
        (one.rows, max(1, int((one.deadline - now) * 1e6)), one.id, one.caller, one.tenant)
        if callers and one.caller
        else (one.rows, max(1, int((one.deadline - now) * 1e6)), one.id)
        for one in members
    ]
    return msgspec.json.encode(listed).decode()


def members_from_proto(text: str, rows: int, now: float, latest: float) -> tuple[Member, ...]:
    """The members of a merged call.

    Args:
        text: the value of `hub_members`.
        rows: rows of the call; each member has at least one.
        now: the present time, in seconds on the lane's clock.
        latest: the deadline of the whole call; no member has a later one.

    Raises:
        HubError: BAD_INPUT if the text does not have the format that this file's docstring describes, or other rows.
    """
    if len(text) > rows * MEMBER_LENGTH:  # it would take seconds to decode what cannot be right
        raise bad_input(
            f"parameter 'hub_members': {len(text)} characters for {rows} rows, expected at most {MEMBER_LENGTH} for each"
        )
    try:
        listed = _members.decode(text)
    except msgspec.DecodeError:
        raise bad_input("parameter 'hub_members': expected a JSON list of [rows, microseconds, id]") from None
    if sum([member.rows for member in listed]) != rows:
        raise bad_input(f"parameter 'hub_members': expected {rows} rows in all, as in the inputs")
    return tuple(
        [
            Member(one.rows, min(latest, now + one.left / 1e6), one.id, one.caller, one.tenant)
            for one in listed
        ]
    )


def dropped_of(message: pb.ModelInferResponse) -> tuple[int, ...]:
    """The indices of the members that the pod has dropped from a merged call."""
    parameters = message.parameters
    if DROPPED not in parameters:
        return ()
    return tuple([int(part) for part in parameters[DROPPED].string_param.split(",")])


def stream_port_of(extensions: Iterable[str]) -> int:
    """The port of a server's standing streams, read from its extensions; 0 if they announce none."""
    told = next((name.removeprefix(STREAM_PORT) for name in extensions if name.startswith(STREAM_PORT)), "")
    return int(told) if told.isdecimal() else 0


def pool_of(extensions: Iterable[str]) -> str:
    """The pool of a server, read from its extensions; "" if they announce none."""
    return next((name.removeprefix(POOL) for name in extensions if name.startswith(POOL)), "")
