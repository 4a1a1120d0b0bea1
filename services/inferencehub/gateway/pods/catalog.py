"""The models of a pod, as the pod reports them: RepositoryIndex, then ModelMetadata and ModelConfig for each model.

RepositoryIndex is an extension of the protocol. A server without it is asked for a model when a caller names the model.
If the server has it, the gateway asks for it again at each read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.oip import model_info
from inferencehub.core.values.signature import ModelInfo
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb

MOST_NAMED = 1000  # models of a pod without a list; there is a limit because callers choose the names
UNHEARD_S = 5.0

Ask = Callable[[str, Any, Any], Awaitable[Any]]


class Catalog:
    """The models of one pod.

    Args:
        slots: batches that a model gets at a time if the pod does not report its number of instances.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.listed = True  # False if the pod has no RepositoryIndex
        self.models: dict[tuple[str, str], ModelInfo] = {}  # by name and version
        self.configs: dict[tuple[str, str], config_pb.ModelConfig] = {}  # of those whose server gives one
        self.unavailable: dict[str, str] = {}  # reasons by name
        self.since: dict[str, float] = {}  # when each of these reasons came, in seconds of `monotonic`
        self.loading: set[str] = set()  # unavailable models that are expected to serve soon
        self.listing: list[pb.RepositoryIndexResponse.ModelIndex] = []  # of all its models, as it gave it
        self.listed_keys: set[tuple[str, str]] = set()  # versions, and models as version "", that it lists
        self._reading = asyncio.Lock()
        self._named: set[str] = set()
        self._unheard: dict[
            str, float
        ] = {}  # names that the pod did not know, each with the time until which it is not asked again

    @property
    def defaults(self) -> dict[str, str]:
        """The default version of each model, which is the newest: a call that names no version gets it."""
        # Versions are numbers in this repository's pods; other servers may use any text.
        return dict(sorted(self.models, key=lambda key: (int(key[1]) if key[1].isdigit() else -1, key[1])))

    async def read(self, ask: Ask) -> None:
        """Read the catalog again; a model without a description this time keeps its last one.

        One reading follows another, so what was read first never takes the place of what was read later.

        Raises:
            AioRpcError, Lost: if the pod does not list its models.
        """
        async with self._reading:
            await self._read(ask)

    async def _read(self, ask: Ask) -> None:
        listing = await self._index(ask)
        ready, unavailable, loading = states_of(listing)
        models: dict[tuple[str, str], ModelInfo] = {}
        for name, version in ready:
            info = await self._describe(ask, name, version) or self.models.get((name, version))
            if info is not None:
                models[name, version] = info
        if self.listed:
            # Such a model is there: a request without a name must not go to "the only one" beside it.
            undescribed = {name for name, _ in ready} - {name for name, _ in models}
            unavailable |= dict.fromkeys(undescribed, "its server lists it, but does not describe it")
            loading |= undescribed
        now, before = monotonic(), self.unavailable
        self.since = {
            name: self.since[name] if before.get(name) == why else now for name, why in unavailable.items()
        }
        self.configs = {key: config for key, config in self.configs.items() if key in models}
        # All at once: a model that is neither in one nor in the other would count as one that never comes, and one that is listed as
        # READY can be called.
        self.models, self.unavailable, self.loading = models, unavailable, loading
        self.listing = listing
        self.listed_keys = {(entry.name, version) for entry in listing for version in ("", entry.version)}

    async def look_for(self, ask: Ask, name: str) -> bool:
        """Ask a pod that cannot list its models for one of them; returns whether the pod has it and it is new here.

        Raises:
            Lost: if the pod does not answer.
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

    async def _index(self, ask: Ask) -> list[pb.RepositoryIndexResponse.ModelIndex]:
        """What the pod lists; if it can't list its models, those that were asked for."""
        try:
            index = await ask("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            self.listed = False
            return [
                pb.RepositoryIndexResponse.ModelIndex(name=name, state="READY")
                for name in sorted(self._named)
            ]
        self.listed = True
        for entry in index.models:
            entry.state = entry.state.rpartition(".")[2]  # MLServer writes "State.READY"
        return list(index.models)

    async def _describe(self, ask: Ask, name: str, version: str) -> ModelInfo | None:
        """The description of a model; None if the pod gives none."""
        try:
            request = pb.ModelMetadataRequest(name=name, version=version)
            metadata = await ask("ModelMetadata", request, pb.ModelMetadataResponse)
        except grpc.aio.AioRpcError:
            return None
        config: config_pb.ModelConfig | None = None
        try:
            asked = pb.ModelConfigRequest(name=name, version=version)
            config = (await ask("ModelConfig", asked, pb.ModelConfigResponse)).config
            self.configs[name, version] = config
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return None
        return model_info.info_from_proto(version, metadata, config, self.slots)


def states_of(
    listing: Sequence[pb.RepositoryIndexResponse.ModelIndex],
) -> tuple[list[tuple[str, str]], dict[str, str], set[str]]:
    """Names and versions that are ready, reasons of the others, and which of them are being loaded."""
    ready = [(entry.name, entry.version) for entry in listing if entry.state == "READY"]
    served = {name for name, _ in ready}
    loading = {entry.name for entry in listing if entry.state == "LOADING"} - served
    others = [entry for entry in listing if entry.name not in served]
    return ready, {entry.name: entry.reason or f"it is {entry.state}" for entry in others}, loading
