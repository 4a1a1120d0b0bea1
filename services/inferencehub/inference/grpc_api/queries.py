"""The pod's gRPC methods that run no model: questions about the server and its models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from inferencehub import __version__
from inferencehub.core.auth.audit import REFUSALS
from inferencehub.core.auth.caller import Action
from inferencehub.core.grpc_server.unary import Method
from inferencehub.core.oip import extension, model_info
from inferencehub.core.oip.admin import model_config
from inferencehub.core.oip.admin.absent import Answer, absent
from inferencehub.core.oip.admin.log_settings import (
    LogSettings,
    settings_from_proto,
    settings_to_proto,
    trace_to_proto,
)
from inferencehub.core.oip.admin.repository import given
from inferencehub.core.oip.admin.statistics import statistics_to_proto
from inferencehub.core.oip.admin.unsupported import unsupported
from inferencehub.core.values.errors import HubError
from inferencehub.inference.grpc_api.admission import Admission
from inferencehub.inference.models.control.control import ByRepository, Control
from inferencehub.inference.models.registry import Models
from inferencehub.inference.runtimes.runtime import RUNTIMES
from inferencehub.pb import open_inference_pb2 as pb

EXTENSIONS = (
    "classification",
    "logging",
    "model_configuration",
    "parameters",
    "statistics",
    extension.EXTENSION,
    extension.CALLERS,
)


REPOSITORY = ("model_repository", "model_repository(unload_dependents)")  # where calls load models


class Queries:
    """The methods.

    Args:
        models: the models of the pod.
        pool: the pod's pool.
        stream_port: returns the port of standing streams.
        logs: the log settings of this process.
        admission: says who asks; a caller sees only their models.

    `ready` tells whether the whole process is ready, `control` loads and unloads models; the server sets both.
    """

    def __init__(
        self,
        models: Models,
        pool: str,
        stream_port: Callable[[], int],
        logs: LogSettings,
        admission: Admission,
    ) -> None:
        self.models = models
        self.pool = pool
        self.stream_port = stream_port
        self.logs = logs
        self.admission = admission
        self.ready: Callable[[], bool] = lambda: False
        self.control: Control = ByRepository(models)

    def methods(self) -> dict[str, tuple[Method, type[Message] | None]]:
        """The methods by their names in the protocol, each with its request message."""
        return {
            "ServerLive": (self.server_live, pb.ServerLiveRequest),
            "ServerReady": (self.server_ready, pb.ServerReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest),
            "LogSettings": (self.log_settings, pb.LogSettingsRequest),
            "TraceSetting": (self.trace_setting, pb.TraceSettingRequest),
            **{name: (answering(answer), request) for name, (answer, request) in absent().items()},
            "RepositoryModelLoad": (self.repository_model_load, pb.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self.repository_model_unload, pb.RepositoryModelUnloadRequest),
        }

    async def server_live(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        """ServerLive: whether the process works."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        """ServerReady: whether the required models serve and the process is not draining."""
        return pb.ServerReadyResponse(ready=self.ready())

    async def model_ready(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        """ModelReady: whether a model would run a call; False for a model or version that is unknown."""
        try:
            ready = self.models.get(request.name, request.version, self.admission.caller(context)).serves
        except HubError as error:  # clients that wait for a model ask until it is ready
            if error.kind in REFUSALS:
                raise
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    async def server_metadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        """ServerMetadata: name, version and extensions of this server."""
        more = (*REPOSITORY, extension.REVISIONS) if self.control.by_calls else ()
        own = (*more, extension.POOL + self.pool, f"{extension.STREAM_PORT}{self.stream_port()}")
        return pb.ServerMetadataResponse(
            name="inferencehub", version=__version__, extensions=EXTENSIONS + own
        )

    async def model_metadata(
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        """Inputs and outputs of a model that is loaded."""
        model = self.models.get(request.name, request.version, self.admission.caller(context))
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
        model = self.models.get(request.name, request.version, self.admission.caller(context))
        model.open_lane()
        response = pb.ModelConfigResponse()
        found, file = model.found, ""
        if found.source is not None:
            response.config.CopyFrom(found.source.config)
            file = found.source.file.name if RUNTIMES[found.runtime].model_files else ""
        model_config.complete(response.config, model.info, file)
        return response

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse:
        """ModelStatistics: what this pod has counted since it started; name and version "" are all.

        Raises:
            HubError: NOT_FOUND if the model is unknown.
        """
        caller = self.admission.caller(context)
        if request.name:
            self.models.get(request.name, request.version, caller)
        wanted = [
            model
            for model in self.models
            if request.name in ("", model.name)
            and request.version in ("", model.version)
            and caller.sees(model.name)
        ]
        stats = [
            statistics_to_proto(model.name, model.version, model.metrics.counters)
            for model in wanted
            if model.version  # without one, its directory could not be read
        ]
        return pb.ModelStatisticsResponse(model_stats=stats)

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: all models, each with its state and the reason if it does not serve."""
        caller = self.admission.caller(context)
        response = pb.RepositoryIndexResponse()
        for model in self.models:
            if caller.sees(model.name) and (model.serves or not request.ready):
                response.models.add(
                    name=model.name, version=model.version, state=model.state.value, reason=model.reason
                )
        return response

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse:
        """RepositoryModelLoad: load a model, or load it again; the answer comes when it serves.

        Raises:
            HubError: as `Control.load`.
        """
        self._controls("RepositoryModelLoad", context)
        await self.control.load(request.model_name, given(request.parameters))
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse:
        """RepositoryModelUnload: unload all versions of a model. Calls that run may still run at the answer.

        Raises:
            HubError: as `Control.unload`.
        """
        self._controls("RepositoryModelUnload", context)
        await self.control.unload(request.model_name, given(request.parameters))
        return pb.RepositoryModelUnloadResponse()

    def _controls(self, method: str, context: Any) -> None:
        caller = self.admission.caller(context)
        caller.require(Action.CONTROL)
        self.admission.controlled(method, caller, context)

    async def log_settings(self, request: pb.LogSettingsRequest, context: Any) -> pb.LogSettingsResponse:
        """LogSettings: change the settings that the request names, and answer all.

        Raises:
            HubError: as `LogSettings.change`.
        """
        changes = settings_from_proto(request)
        if changes:
            self._controls("LogSettings", context)
            self.logs.change(changes)
            for model in self.models:
                model.log_at(logging.getLogger().level)
        return settings_to_proto(self.logs.read())

    async def trace_setting(self, request: pb.TraceSettingRequest, context: Any) -> pb.TraceSettingResponse:
        """TraceSetting: the trace settings, which say that tracing is off.

        Raises:
            HubError: NOT_FOUND if the model is unknown, UNSUPPORTED if the request would change a setting.
        """
        if request.model_name:
            self.models.get(request.model_name, caller=self.admission.caller(context))
        if request.settings:
            raise unsupported("tracing")
        return trace_to_proto()


def answering(answer: Answer) -> Method:
    """A method whose answer needs nothing but the request."""

    async def method(request: Any, context: Any) -> Message:
        return answer(request)

    return method
