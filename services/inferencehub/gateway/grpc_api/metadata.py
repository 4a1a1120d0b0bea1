"""Questions about the server, its models and its settings, and the methods of what it does not have."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message

from inferencehub import __version__
from inferencehub.core.auth.audit import Audit
from inferencehub.core.auth.caller import Action
from inferencehub.core.oip.admin.absent import Answer, absent
from inferencehub.core.oip.admin.log_settings import (
    LogSettings,
    settings_from_proto,
    settings_to_proto,
    trace_to_proto,
)
from inferencehub.core.oip.admin.repository import given
from inferencehub.core.oip.admin.unsupported import unsupported
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.extensions import announced
from inferencehub.gateway.grpc_api.edge import Work
from inferencehub.gateway.routing.control.control import ModelControl
from inferencehub.gateway.routing.model_queries import ModelQueries
from inferencehub.pb import open_inference_pb2 as pb


class Metadata:
    """The methods.

    Args:
        queries: answers questions about models.
        logs: the log settings of this process.
        serving: returns whether the gateway accepts requests and can answer them.
        audit: gets who changes settings.
        control: loads and unloads models; None where the gateway does not.
    """

    def __init__(
        self,
        queries: ModelQueries,
        logs: LogSettings,
        serving: Callable[[], bool],
        audit: Audit,
        control: ModelControl | None,
    ) -> None:
        self.control = control
        self.audit = audit
        self.queries = queries
        self.logs = logs
        self.serving = serving

    def methods(self) -> dict[str, tuple[Work, type[Message]]]:
        """The methods by their names in the protocol, each with its request message."""
        return {
            "ServerLive": (self.live, pb.ServerLiveRequest),
            "ServerReady": (self.ready, pb.ServerReadyRequest),
            "ServerMetadata": (self.server, pb.ServerMetadataRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": (self.model, pb.ModelMetadataRequest),
            "ModelConfig": (self.config, pb.ModelConfigRequest),
            "ModelStatistics": (self.statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self.index, pb.RepositoryIndexRequest),
            "LogSettings": (self.log_settings, pb.LogSettingsRequest),
            "TraceSetting": (self.trace_setting, pb.TraceSettingRequest),
            **{name: (answering(answer), request) for name, (answer, request) in absent().items()},
            "RepositoryModelLoad": (self.load, pb.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self.unload, pb.RepositoryModelUnloadRequest),
        }

    async def live(self, exchange: Exchange, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """ServerLive: the gateway works."""
        return pb.ServerLiveResponse(live=True)

    async def ready(self, exchange: Exchange, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """ServerReady: whether the gateway accepts requests and a pod serves, or a request would start one."""
        return pb.ServerReadyResponse(ready=self.serving())

    async def server(
        self, exchange: Exchange, request: pb.ServerMetadataRequest
    ) -> pb.ServerMetadataResponse:
        """ServerMetadata: name, version and supported extensions."""
        extensions = announced(self.control is not None)
        return pb.ServerMetadataResponse(name="inferencehub", version=__version__, extensions=extensions)

    async def model_ready(self, exchange: Exchange, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """ModelReady: whether a model can be called now; False for a model or version that is unknown.

        Raises:
            HubError: FORBIDDEN.
        """
        try:
            await self.queries.require_ready(exchange.caller, request.name, request.version)
        except HubError as error:  # clients that wait for a model ask until it is ready
            if error.kind is Kind.FORBIDDEN:
                raise
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def model(self, exchange: Exchange, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """ModelMetadata: inputs and outputs of a model.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        return await self.queries.metadata(exchange.caller, request.name, request.version)

    async def config(self, exchange: Exchange, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """ModelConfig: a model's configuration, with what it leaves out filled in.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        return pb.ModelConfigResponse(
            config=await self.queries.config(exchange.caller, request.name, request.version)
        )

    async def statistics(
        self, exchange: Exchange, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        """ModelStatistics: what this gateway has counted since it started; name and version "" are all.

        Raises:
            HubError: NOT_FOUND or NOT_READY if there is no such model.
        """
        return await self.queries.statistics(exchange.caller, request.name, request.version)

    async def index(
        self, exchange: Exchange, request: pb.RepositoryIndexRequest
    ) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: all model versions of all pods, each with the reason if it cannot be called."""
        return self.queries.index(exchange.caller, request.ready)

    async def load(
        self, exchange: Exchange, request: pb.RepositoryModelLoadRequest
    ) -> pb.RepositoryModelLoadResponse:
        """RepositoryModelLoad: load a model on all pods; the answer comes when all serve it.

        Raises:
            HubError: UNSUPPORTED where the gateway does not, else as `ModelControl.load`.
        """
        control = self._control("RepositoryModelLoad", exchange)
        await control.load(exchange.caller, request.model_name, given(request.parameters))
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, exchange: Exchange, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """RepositoryModelUnload: unload all versions of a model on all pods.

        Raises:
            HubError: as `load`.
        """
        control = self._control("RepositoryModelUnload", exchange)
        await control.unload(exchange.caller, request.model_name, given(request.parameters))
        return pb.RepositoryModelUnloadResponse()

    def _control(self, method: str, exchange: Exchange) -> ModelControl:
        self.audit.controlled(method, exchange.peer, exchange.id, exchange.caller)
        if self.control is None:
            raise unsupported("model control")
        return self.control

    async def log_settings(
        self, exchange: Exchange, request: pb.LogSettingsRequest
    ) -> pb.LogSettingsResponse:
        """LogSettings: change the settings that the request names, and answer all.

        Raises:
            HubError: as `LogSettings.change`.
        """
        changes = settings_from_proto(request)
        if changes:
            exchange.caller.require(Action.CONTROL)
            self.audit.controlled("LogSettings", exchange.peer, exchange.id, exchange.caller)
        self.logs.change(changes)
        return settings_to_proto(self.logs.read())

    async def trace_setting(
        self, exchange: Exchange, request: pb.TraceSettingRequest
    ) -> pb.TraceSettingResponse:
        """TraceSetting: the trace settings, which say that tracing is off.

        Raises:
            HubError: NOT_FOUND if the model is unknown, UNSUPPORTED if the request would change a setting.
        """
        if request.model_name:
            await self.queries.metadata(exchange.caller, request.model_name, "")
        if request.settings:
            raise unsupported("tracing")
        return trace_to_proto()


def answering(answer: Answer) -> Work:
    """A method whose answer needs nothing but the request."""

    async def method(exchange: Exchange, request: Message) -> Message:
        return answer(request)

    return method
