"""Our parameters of merged calls: read from requests, and written into answers; see `core/oip/extension.py`."""

from __future__ import annotations

from time import monotonic

from inferencehub.core.oip import extension, messages
from inferencehub.core.values.requests import InferResponse, Times
from inferencehub.inference.grpc_api.call import Call
from inferencehub.pb import open_inference_pb2 as pb


def members_of(message: pb.ModelInferRequest) -> str:
    """The parameter `hub_members` of a request; "" if there is none."""
    parameters = message.parameters
    return parameters["hub_members"].string_param if "hub_members" in parameters else ""


def fill(answer: pb.ModelInferResponse, call: Call, response: InferResponse, id: str) -> None:
    """Write a model's answer to a merged call into a message, with our parameters."""
    messages.fill_response(answer, response, id)
    add_times(answer, call)


def add_times(answer: pb.ModelInferResponse, call: Call) -> None:
    """Add our parameters to an answer: the call's times, the number of free instances, and the dropped members.

    One answer of each run has the rows of the run, so that a run is counted once, whoever gets its answers.
    """
    job = call.job
    if job is None:
        return
    parameters, trip = answer.parameters, job.trip
    parameters["hub_queue_us"].int64_param = round(job.waited * 1e6)
    parameters["hub_compute_us"].int64_param = round(trip.compute * 1e6)
    parameters["hub_input_us"].int64_param = round(trip.input * 1e6)
    parameters["hub_output_us"].int64_param = round(trip.output * 1e6)
    if not trip.counted:
        trip.counted = True
        parameters["hub_rows"].int64_param = trip.rows
    parameters["hub_free"].int64_param = call.model.free
    add_dropped(answer, call)


def times_of(call: Call) -> Times | None:
    """How long a call waited and ran that ends without an answer; None if it did not run."""
    job = call.job
    if job is None or not job.waited:
        return None
    return Times(queue=job.waited, compute=max(0.0, monotonic() - job.received - job.waited))


def add_dropped(answer: pb.ModelInferResponse, call: Call) -> None:
    """Write which members were dropped from a merged call; the answer has no rows for them."""
    if call.job is not None and call.job.dropped:
        answer.parameters[extension.DROPPED].string_param = ",".join(map(str, call.job.dropped))
