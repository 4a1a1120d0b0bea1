"""The pod's gRPC methods: the Open Inference Protocol, and the small Predict.

Each method reads a message, uses `models`, and writes a message. Errors become status codes in `core/grpc_server/unary.py`.

A merged call (parameter `hub_members`, see `core/oip/extension.py`) is one job whose rows belong to several callers.
The pod's answer contains its times and the number of free instances. If the pod has no room for a call, it refuses the
call with the trailer `hub-refused`. The gateway then knows that the call never started, and may send it to another pod.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.refusal import sentence
from inferencehub.core.grpc_server.unary import Method, check_size, ending, unary, written
from inferencehub.core.lane.sink import End, OneAnswer, Sink
from inferencehub.core.oip import extension, messages
from inferencehub.core.oip.admin.log_settings import LogSettings
from inferencehub.core.oip.parts import Weighed, fill_parts
from inferencehub.core.oip.predict import features_or_text, predict_request
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.oip.unnamed_model import kind_of
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.grpc_api.admission import Admission
from inferencehub.inference.grpc_api.call import Call, CallRecorder, status_of
from inferencehub.inference.grpc_api.context import of_message, of_metadata
from inferencehub.inference.grpc_api.merged import add_dropped, add_times, fill, members_of, times_of
from inferencehub.inference.grpc_api.queries import Queries
from inferencehub.inference.grpc_api.standing_stream import StandingStream
from inferencehub.inference.grpc_api.streams import Streams
from inferencehub.inference.models.registry import Models
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb

logger = logging.getLogger(__name__)

PREDICT_SERVICE = "inference.ModelInference"


class Servicer:
    """The methods of both services.

    Args:
        models: the models to serve.
        settings: the service's settings.
        access: the access log; None if access lines are off.
        admission: says who calls, and what they may.
        certificate: for TLS between the tiers; None to speak in plain.
    """

    def __init__(
        self,
        models: Models,
        settings: InferenceSettings,
        access: AccessLog | None,
        admission: Admission,
        certificate: Certificate | None = None,
    ) -> None:
        self.models = models
        self.settings = settings
        self.admission = admission
        self.calls = CallRecorder(settings, access)
        self.streams = Streams(
            self, settings.max_message_bytes, settings.max_timeout_ms / 1000, models.bytes_held, certificate
        )
        self.queries = Queries(
            models, settings.pool, lambda: self.streams.port, LogSettings(settings.log_format), admission
        )

    def called(self, message: pb.ModelInferRequest, context: Any, caller: Caller) -> Call:
        """The call that a caller's message at the gRPC port asks for.

        Raises:
            HubError: FORBIDDEN, NOT_FOUND or NOT_READY for its model, BAD_INPUT if a direct caller speaks as a gateway.
        """
        if caller is not ANYONE:
            messages.refuse_ours(message)
        gateway = extension.MEMBERS in message.parameters
        model = self.models.get(message.model_name, message.model_version, caller, gateway=gateway)
        traced = extension.TRACE_PARENT in message.parameters
        trace = of_message(message) if traced else of_metadata(context)
        return Call(model, message.id, context, monotonic(), caller, trace)

    async def model_infer(self, data: bytes, context: Any) -> bytes:
        """ModelInfer: run a model. `data` is a serialized ModelInferRequest, the result a serialized response."""
        message, raw = read_request(data)
        call = self.called(message, context, self.admission.caller(context))
        members, model = members_of(message), call.model

        def reply(response: InferResponse) -> Message | bytes:
            check_size(response.size, model.name, self.settings.max_message_bytes)
            if not members:
                return messages.answer_to_proto(response, message.id)
            answer = pb.ModelInferResponse()
            fill(answer, call, response, message.id)
            return answer

        return await self.infer(call, messages.request_from_proto(message, raw), members, reply)

    def begin(
        self, message: pb.ModelInferRequest, raw: Sequence[Buffer], stream: StandingStream, sink: Sink
    ) -> Call:
        """Begin the call that a message of a standing stream asks for.

        Args:
            message: the message.
            raw: its raw contents.
            stream: the stream on which it arrived.
            sink: gets the answers.

        Raises:
            HubError: if the call is not accepted.
        """
        model = self.models.get(message.model_name, message.model_version, gateway=True)
        trace = of_message(message) if extension.TRACE_PARENT in message.parameters else None
        call = Call(model, "", stream, monotonic(), trace=trace)
        if extension.PROGRESS in message.parameters:
            call.tell = partial(stream.progress, message.id)
        self.calls.begin(call, messages.request_from_proto(message, raw), members_of(message), sink)
        return call

    def parts(self, id: str, call: Call, answers: Sequence[Weighed], limit: int) -> bytes:
        """One or more of several answers to a message of a standing stream, serialized.

        Raises:
            HubError: MODEL_FAILED if they have more than `limit` bytes.
        """
        check_size(sum([response.size for response, _ in answers]), call.model.name, limit)
        reply = pb.ModelStreamInferResponse()
        fill_parts(reply.infer_response, answers, id)
        add_dropped(reply.infer_response, call)
        return written(reply, call.model.name, limit)

    def answer(self, id: str, call: Call, end: End, limit: int) -> bytes:
        """The message that ends a call of a standing stream, serialized; b"" if the caller has left."""
        if isinstance(end, HubError):  # not raised: the traceback would keep the request alive
            left = end.kind is Kind.CALLER_LEFT
            self.calls.end(call, "cancelled" if left else status_of(end))
            return b"" if left else extension.failure_to_proto(id, end.kind, sentence(end), times_of(call))
        status = "ok"
        try:
            reply = pb.ModelStreamInferResponse()
            if end is None:
                reply.infer_response.id = id
                reply.infer_response.parameters[extension.END].bool_param = True
                add_times(reply.infer_response, call)
            else:
                check_size(end.size, call.model.name, limit)
                fill(reply.infer_response, call, end, id)
            return written(reply, call.model.name, limit)
        except Exception as error:
            status = status_of(error)
            return self.failure(id, error)
        finally:
            self.calls.end(call, status)

    def failure(self, id: str, error: Exception, message: Message | None = None) -> bytes:
        """The answer to a message of a standing stream whose call failed, serialized."""
        return extension.failure_to_proto(id, *ending(error, "model_stream_infer", message))

    async def predict(self, message: predict_pb.PredictRequest, context: Any) -> bytes:
        """Predict, the small call: one row of features or a text in, a serialized PredictResponse out."""
        now = monotonic()
        features, text = features_or_text(message)
        caller = self.admission.caller(context)
        name = message.model_name or self.settings.model_for(text)
        name = name or self.models.unnamed(kind_of(text), caller)
        model = self.models.get(name, "", caller, bool(message.model_name))
        model.open_lane()
        request = predict_request(model.info, "", features, text)

        def reply(response: InferResponse) -> Message:
            found = read_prediction(model.info, response)
            return predict_pb.PredictResponse(
                class_id=found.class_id, confidence=found.confidence, label=found.label
            )

        return await self.infer(
            Call(model, "", context, now, caller, of_metadata(context)), request, "", reply
        )

    async def infer(
        self,
        call: Call,
        request: InferRequest,
        members: str,
        reply: Callable[[InferResponse], Message | bytes],
    ) -> bytes:
        """Put a call into its model's lane and wait for the answer. Writes one access line, however the call ends.

        Args:
            call: the call.
            request: the request.
            members: the parameter `hub_members`; "" if the call is not a merge.
            reply: turns the model's answer into the method's answer.

        Returns:
            The serialized answer.

        Raises:
            HubError: if the call fails.
        """
        sink = OneAnswer()
        self.calls.begin(call, request, members, sink)
        status = "ok"
        try:
            answer = reply(await sink.future)
            return written(answer, call.model.name, self.settings.max_message_bytes)
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            del sink  # it has the error, whose traceback has this frame: a cycle that would keep the request
            call.leave()
            self.calls.end(call, status)


def handlers(servicer: Servicer, stream: Any, callers: Callers) -> list[grpc.GenericRpcHandler]:
    """The gRPC handlers of both services. They answer errors with status codes.

    Args:
        servicer: has the methods.
        stream: the handler of ModelStreamInfer.
        callers: counts what has come, and large answers until their callers have taken them.
    """
    limit, bytes_held = servicer.settings.max_message_bytes, servicer.models.bytes_held
    refused = servicer.admission.refused
    oip: dict[str, tuple[Method, type[Message] | None]] = {
        **servicer.queries.methods(),
        "ModelInfer": (servicer.model_infer, None),
    }
    small: dict[str, tuple[Method, type[Message] | None]] = {
        "Predict": (servicer.predict, predict_pb.PredictRequest)
    }
    made = {name: unary(*method, limit, bytes_held, callers, refused) for name, method in oip.items()}
    return [
        grpc.method_handlers_generic_handler(messages.SERVICE, {**made, "ModelStreamInfer": stream}),
        grpc.method_handlers_generic_handler(
            PREDICT_SERVICE,
            {name: unary(*method, limit, bytes_held, callers, refused) for name, method in small.items()},
        ),
    ]
