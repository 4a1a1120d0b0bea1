"""What a pod serves, as it tells itself: RepositoryIndex, and of each model ModelMetadata and ModelConfig.

A server without RepositoryIndex, which is an extension of the protocol, is asked for a model when a caller names it,
and for the models that it had from then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.oip import model_info
from inferencehub.core.values.signature import ModelInfo
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb

MOST_NAMED = 1000  # models that a pod without a list may have, for names come from callers
UNHEARD_S = 5.0

Ask = Callable[[str, Any, Any], Awaitable[Any]]


class Catalog:
    """The models of one pod.

    Args:
        slots: batches that a model gets at a time where the pod does not tell its instances.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.listed = True  # False where it has no RepositoryIndex
        self.models: dict[tuple[str, str], ModelInfo] = {}  # by name and version
        self.unavailable: dict[str, str] = {}  # by name, with the reason
        self.loading: set[str] = set()  # those of them that are expected to serve soon
        self._named: set[str] = set()
        self._unheard: dict[
            str, float
        ] = {}  # names that it did not know, and until when it is not asked again

    @property
    def defaults(self) -> dict[str, str]:
        """The version of each model that a call without one gets: the newest."""
        # Versions are numbers here, and text elsewhere.
        return dict(sorted(self.models, key=lambda key: (int(key[1]) if key[1].isdigit() else -1, key[1])))

    async def read(self, ask: Ask) -> None:
        """Read it anew; a model that does not tell about itself this time is kept as it was.

        Raises:
            AioRpcError, Lost: where the pod does not list its models.
        """
        ready, unavailable = await self._index(ask)
        models: dict[tuple[str, str], ModelInfo] = {}
        for name, version in ready:
            info = await self._describe(ask, name, version) or self.models.get((name, version))
            if info is not None:
                models[name, version] = info
        self.models, self.unavailable = models, unavailable

    async def look_for(self, ask: Ask, name: str) -> bool:
        """Ask a pod that does not list its models for one of them; whether it is new here.

        Raises:
            Lost: where the pod does not answer.
        """
        now = monotonic()
        if self.listed or (name, "") in self.models or self._unheard.get(name, 0.0) > now:
            return False
        info = await self._describe(ask, name, "") if len(self._named) < MOST_NAMED else None
        if info is None or info.name != name:
            self._unheard = {other: until for other, until in self._unheard.items() if until > now}
            if len(self._unheard) < MOST_NAMED:
                self._unheard[name] = now + UNHEARD_S
            return False
        self._named.add(name)
        self.models[name, ""] = info
        return True

    async def _index(self, ask: Ask) -> tuple[list[tuple[str, str]], dict[str, str]]:
        try:
            index = await ask("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            self.listed = False
            return [(name, "") for name in sorted(self._named)], {}
        self.listed = True
        # MLServer writes "PodState.READY".
        states = [(entry, entry.state.rpartition(".")[2]) for entry in index.models]
        ready = [(entry.name, entry.version) for entry, state in states if state == "READY"]
        served = {name for name, _ in ready}
        self.loading = {entry.name for entry, state in states if state == "LOADING"} - served
        unavailable = {e.name: e.reason or f"it is {state}" for e, state in states if e.name not in served}
        return ready, unavailable

    async def _describe(self, ask: Ask, name: str, version: str) -> ModelInfo | None:
        """What a model takes and gives; None where the pod does not tell."""
        try:
            request = pb.ModelMetadataRequest(name=name, version=version)
            metadata = await ask("ModelMetadata", request, pb.ModelMetadataResponse)
        except grpc.aio.AioRpcError:
            return None
        config: config_pb.ModelConfig | None = None
        try:
            asked = pb.ModelConfigRequest(name=name, version=version)
            config = (await ask("ModelConfig", asked, pb.ModelConfigResponse)).config
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return None
        return model_info.info_from_proto(version, metadata, config, self.slots)
