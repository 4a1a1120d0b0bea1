"""The place of a call in its trace, as it comes to a pod.

A gateway says it in parameters of each message, for its calls share a stream; of a run of several callers it is that of the
run. Direct callers have it in the metadata of their call. A pod has no spans of its own: it passes on what comes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from inferencehub.core.oip.extension import TRACE_IDS, TRACE_PARENT, TRACE_STATE
from inferencehub.core.traces.context import PARENT, STATE, Trace, joined, passed_on
from inferencehub.pb import open_inference_pb2 as pb

NAMES = {PARENT.decode(): PARENT, STATE.decode(): STATE}
IDS_LIMIT = 2000  # characters of the ids of all traces


class Context(NamedTuple):
    """The place of a call's run, and the ids of its callers' traces, for the access line, separated by commas."""

    run: Trace
    ids: str


def of_message(message: pb.ModelInferRequest) -> Context | None:
    """What a gateway says in a message that has `TRACE_PARENT`; None if it is not valid."""
    parameters = message.parameters
    state = parameters[TRACE_STATE].string_param if TRACE_STATE in parameters else ""
    run = passed_on(parameters[TRACE_PARENT].string_param.encode(), state.encode())
    if run is None:
        return None
    ids = parameters[TRACE_IDS].string_param[:IDS_LIMIT] if TRACE_IDS in parameters else run.trace_id
    return Context(run, ids)


def of_metadata(context: Any) -> Context | None:
    """What the metadata of a gRPC call says; None if it says nothing, or it is not valid."""
    metadata = context.invocation_metadata() or ()
    found = [(NAMES[name], value.encode()) for name, value in metadata if name in NAMES]
    fields = joined(found) if found else {}
    run = passed_on(fields[PARENT], fields.get(STATE, b"")) if PARENT in fields else None
    return None if run is None else Context(run, run.trace_id)
