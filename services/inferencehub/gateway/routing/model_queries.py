"""Answers to questions about models, as the protocol's messages; every front asks here.

A caller sees only the models that they may call, in lists, in sentences, and where they ask for one by its name.

For a model whose pool has no pods, a question about its inputs waits as an inference request does, and makes the pool
start: many clients ask for metadata or the configuration first.
"""

from __future__ import annotations

from inferencehub.core.auth.caller import Caller
from inferencehub.core.oip.admin.model_config import described
from inferencehub.core.oip.admin.statistics import statistics_to_proto
from inferencehub.core.oip.model_info import spec_to_proto
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.statistics import Counters, Statistics
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.repository_index import in_order, repository_index
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.traffic.traffic import no_entry
from inferencehub.gateway.routing.unknown_models import UnknownModels
from inferencehub.pb import open_inference_pb2 as pb
from inferencehub.pb.model_config_pb2 import ModelConfig


class ModelQueries:
    """See the module's text.

    Args:
        fleet, table: the pods and the lanes of known models.
        unknown: where requests for other models wait.
        counted: the counters of this gateway.
    """

    def __init__(
        self, fleet: Fleet, table: RoutingTable, unknown: UnknownModels, counted: Statistics
    ) -> None:
        self.fleet = fleet
        self.table = table
        self.unknown = unknown
        self.counted = counted

    async def metadata(self, caller: Caller, name: str, version: str) -> pb.ModelMetadataResponse:
        """ModelMetadata: inputs and outputs of a model; `version` "" is the default one.

        Raises:
            HubError: NOT_FOUND, NOT_READY, or FORBIDDEN.
        """
        info = (await self._lane(caller, name, version)).info
        return pb.ModelMetadataResponse(
            name=info.name,
            versions=self.table.versions(info.name),
            platform=info.platform,
            inputs=[spec_to_proto(spec) for spec in info.signature.inputs],
            outputs=[spec_to_proto(spec) for spec in info.signature.outputs],
        )

    async def config(self, caller: Caller, name: str, version: str) -> ModelConfig:
        """ModelConfig: the configuration of a model as its pods show it, or what is known of it if they show none.

        Raises:
            HubError: NOT_FOUND, NOT_READY, or FORBIDDEN.
        """
        lane = await self._lane(caller, name, version)
        return described(lane.info) if lane.config is None else lane.config

    def index(self, caller: Caller, ready: bool) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: all model versions of all pods; see `repository_index`."""
        return repository_index(self.fleet, self.table, ready, caller.sees)

    async def statistics(self, caller: Caller, name: str, version: str) -> pb.ModelStatisticsResponse:
        """ModelStatistics: what this gateway has counted since it started; name and version "" are all.

        Raises:
            HubError: NOT_FOUND or NOT_READY if there is no such model, FORBIDDEN.
        """
        version = self.table.version(name, version)
        wanted = self._counted(name, version)
        if name and not wanted:
            await self._lane(caller, name, version)  # says why not, or waits until there is one
            wanted = self._counted(name, version)
        if name:
            caller.require_model(name)
        counted = self.counted.counters
        return pb.ModelStatisticsResponse(
            model_stats=[
                statistics_to_proto(*key, counted.get(key) or Counters())
                for key in sorted(wanted, key=in_order)
                if caller.sees(key[0])
            ]
        )

    def traffic(self, caller: Caller, name: str) -> dict[str, object]:
        """How the calls of a model are split among its versions, as this gateway has it.

        Raises:
            HubError: NOT_FOUND if no file says so, or FORBIDDEN.
        """
        caller.require_model(name)
        if self.table.traffic is None:
            raise no_entry(name)
        return self.table.traffic.page(name)

    def _counted(self, name: str, version: str) -> list[tuple[str, str]]:
        """Name and version of the models that have counters or are known; "" is any."""
        keys = {*self.counted.counters, *listed_versions(self.table)}
        return [key for key in keys if name in ("", key[0]) and version in ("", key[1])]

    async def require_ready(self, caller: Caller, name: str, version: str) -> None:
        """ModelReady: return if the model can be called now.

        Raises:
            HubError: NOT_FOUND, NOT_READY if no pod serves the model, or FORBIDDEN.
        """
        caller.require_model(name)
        if not self.table.known(name, version):
            await self.unknown.lanes(name, version, 0, caller.sees)
        if reason := self.table.why_closed(name, version):
            raise HubError(Kind.NOT_READY, f"model '{name}' is not ready: {reason}")

    async def _lane(self, caller: Caller, name: str, version: str) -> ModelLane:
        caller.require_model(name)
        hold_s = None if name in self.fleet.on_demand else 0
        lanes = self.table.known(name, version) or await self.unknown.lanes(
            name, version, hold_s, caller.sees
        )
        return lanes[0]


def listed_versions(table: RoutingTable) -> set[tuple[str, str]]:
    """Name and version of the models that the table knows; version "" of those whose servers name no version."""
    named = {name for name, version in table.routes if version}
    return {(name, version) for name, version in table.routes if version or name not in named}
