"""The pod's gRPC methods: the Open Inference Protocol, and the small Predict.

Each method reads a message, uses `models`, and writes a message. Errors become status codes in `edge.py`.

A merged call (parameter `hub_members`, see `core/oip/extension.py`) is one job whose rows belong to several callers.
The pod's answer contains its times and the number of free instances. If the pod has no room for a call, it refuses the
call with the trailer `hub-refused`. The gateway then knows that the call never started, and may send it to another pod.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from inferencehub import __version__
from inferencehub.core.lane.sink import End, OneAnswer, Sink
from inferencehub.core.oip import extension, messages, model_info
from inferencehub.core.oip.admin import model_config
from inferencehub.core.oip.predict import predict_request
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.oip.unnamed_model import kind_of
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.grpc_api.call import Call, CallRecorder, status_of
from inferencehub.inference.grpc_api.edge import Method, check_size, ending, unary, written
from inferencehub.inference.grpc_api.merged import add_dropped, add_times, fill, members_of
from inferencehub.inference.grpc_api.standing_stream import StandingStream
from inferencehub.inference.grpc_api.streams import Streams
from inferencehub.inference.models.registry import Models
from inferencehub.inference.runtimes.runtime import RUNTIMES
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb

logger = logging.getLogger(__name__)

PREDICT_SERVICE = "inference.ModelInference"
EXTENSIONS = ("classification", "model_configuration", "parameters", extension.EXTENSION)


class Servicer:
    """The methods of both services.

    Args:
        models: the models to serve.
        settings: the service's settings.
        access: the access log; None if access lines are off.

    `ready` tells whether the whole process is ready; the server sets it.
    """

    def __init__(self, models: Models, settings: InferenceSettings, access: AccessLog | None) -> None:
        self.models = models
        self.settings = settings
        self.calls = CallRecorder(settings, access)
        self.ready: Callable[[], bool] = lambda: False
        self.streams = Streams(
            self, settings.max_message_bytes, settings.max_timeout_ms / 1000, models.bytes_held
        )

    async def server_live(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        """ServerLive: whether the process works."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        """ServerReady: whether the required models serve and the process is not draining."""
        return pb.ServerReadyResponse(ready=self.ready())

    async def model_ready(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        """ModelReady: whether a model would run a call; False for a model or version that is unknown."""
        try:
            ready = self.models.get(request.name, request.version).serves
        except HubError:  # clients that wait for a model ask until it is ready
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    async def server_metadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        """ServerMetadata: name, version and extensions of this server."""
        own = (extension.POOL + self.settings.pool, f"{extension.STREAM_PORT}{self.streams.port}")
        return pb.ServerMetadataResponse(
            name="inferencehub", version=__version__, extensions=EXTENSIONS + own
        )

    async def model_metadata(
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        """Inputs and outputs of a model that is loaded."""
        model = self.models.get(request.name, request.version)
        model.open_lane()
        signature = model.info.signature
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=self.models.versions(model.name),
            platform=model.info.platform,
            inputs=[model_info.spec_to_proto(spec) for spec in signature.inputs],
            outputs=[model_info.spec_to_proto(spec) for spec in signature.outputs],
        )

    async def model_config(self, request: pb.ModelConfigRequest, context: Any) -> pb.ModelConfigResponse:
        """ModelConfig: a model's configuration, with what it leaves out filled in.

        Raises:
            HubError: NOT_FOUND if the model is unknown, NOT_READY if it is not loaded.
        """
        model = self.models.get(request.name, request.version)
        model.open_lane()
        response = pb.ModelConfigResponse()
        found = model.found
        if found.source is not None:
            response.config.CopyFrom(found.source.config)
        model_config.complete(response.config, model.info, RUNTIMES[found.runtime].model_file)
        return response

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: all models, each with its state and the reason if it does not serve."""
        response = pb.RepositoryIndexResponse()
        for model in self.models:
            if model.serves or not request.ready:
                response.models.add(
                    name=model.name, version=model.version, state=model.state.value, reason=model.reason
                )
        return response

    async def model_infer(self, data: bytes, context: Any) -> bytes:
        """ModelInfer: run a model. `data` is a serialized ModelInferRequest, the result a serialized response."""
        message, raw = read_request(data)
        members = members_of(message)
        model = self.models.get(message.model_name, message.model_version)
        call = Call(model, message.id, context, monotonic())

        def reply(response: InferResponse) -> Message:
            check_size(response.size, model.name, self.settings.max_message_bytes)
            answer = pb.ModelInferResponse()
            fill(answer, call, response, message.id, bool(members))
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
        call = Call(self.models.get(message.model_name, message.model_version), "", stream, monotonic())
        self.calls.begin(call, messages.request_from_proto(message, raw), members_of(message), sink)
        return call

    def part(self, id: str, call: Call, response: InferResponse, weight: int, limit: int) -> bytes:
        """One of several answers to a message of a standing stream, serialized.

        Raises:
            HubError: MODEL_FAILED if it has more than `limit` bytes.
        """
        check_size(response.size, call.model.name, limit)
        reply = pb.ModelStreamInferResponse()
        messages.fill_response(reply.infer_response, response, id)
        reply.infer_response.parameters[extension.PART].int64_param = weight
        add_dropped(reply.infer_response, call)
        return written(reply, call.model.name, limit)

    def answer(self, id: str, call: Call, end: End, limit: int) -> bytes:
        """The message that ends a call of a standing stream, serialized; b"" if the caller has left."""
        if isinstance(end, HubError):  # not raised: the traceback would keep the request alive
            left = end.kind is Kind.CALLER_LEFT
            self.calls.end(call, "cancelled" if left else status_of(end))
            return b"" if left else self.failure(id, end)
        status = "ok"
        try:
            reply = pb.ModelStreamInferResponse()
            if end is None:
                reply.infer_response.id = id
                reply.infer_response.parameters[extension.END].bool_param = True
                add_times(reply.infer_response, call)
            else:
                check_size(end.size, call.model.name, limit)
                fill(reply.infer_response, call, end, id, True)
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
        text = message.text if message.text and not message.features else None
        name = message.model_name or self.settings.model_for(text) or self.models.unnamed(kind_of(text))
        model = self.models.get(name)
        model.open_lane()
        request = predict_request(model.info, "", message.features, text)

        def reply(response: InferResponse) -> Message:
            found = read_prediction(model.info, response)
            return predict_pb.PredictResponse(
                class_id=found.class_id, confidence=found.confidence, label=found.label
            )

        return await self.infer(Call(model, "", context, now), request, "", reply)

    async def infer(
        self, call: Call, request: InferRequest, members: str, reply: Callable[[InferResponse], Message]
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


def handlers(servicer: Servicer) -> list[grpc.GenericRpcHandler]:
    """The gRPC handlers of both services. They answer errors with status codes."""
    limit, bytes_held = servicer.settings.max_message_bytes, servicer.models.bytes_held
    oip: dict[str, tuple[Method, type[Message] | None]] = {
        "ServerLive": (servicer.server_live, pb.ServerLiveRequest),
        "ServerReady": (servicer.server_ready, pb.ServerReadyRequest),
        "ModelReady": (servicer.model_ready, pb.ModelReadyRequest),
        "ServerMetadata": (servicer.server_metadata, pb.ServerMetadataRequest),
        "ModelMetadata": (servicer.model_metadata, pb.ModelMetadataRequest),
        "ModelConfig": (servicer.model_config, pb.ModelConfigRequest),
        "RepositoryIndex": (servicer.repository_index, pb.RepositoryIndexRequest),
        "ModelInfer": (servicer.model_infer, None),
    }
    small: dict[str, tuple[Method, type[Message] | None]] = {
        "Predict": (servicer.predict, predict_pb.PredictRequest)
    }
    return [
        grpc.method_handlers_generic_handler(
            service, {name: unary(*method, limit, bytes_held) for name, method in methods.items()}
        )
        for service, methods in ((messages.SERVICE, oip), (PREDICT_SERVICE, small))
    ]
