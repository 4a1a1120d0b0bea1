"""All models of this process: found in the repository, loaded in parallel, looked up by name and version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip.unnamed_model import must_name, unnamed_model
from inferencehub.core.values.errors import HubError, Kind, listed
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.model import Model, ModelState
from inferencehub.inference.models.repository import Found, scan
from inferencehub.inference.runtimes.runtime import ProcessRules

logger = logging.getLogger(__name__)

NOTICED_S = 10.0  # within this time, all gateways have noticed that a version went


class Models:
    """The models of one repository.

    Args:
        repository: the repository's directory.
        bytes_held: the process's budget of request bytes.
        metrics: the service's metrics.
        changed: called whenever a model's state changes.
        processes: rules for the processes of models.
    """

    def __init__(
        self,
        repository: Path,
        bytes_held: ByteBudget,
        metrics: Metrics,
        changed: Callable[[], None],
        processes: ProcessRules,
    ) -> None:
        self.repository = repository
        self.bytes_held = bytes_held
        self.metrics = metrics
        self.changed = changed
        self.processes = processes
        self.scanned = False  # whether all models are known
        self.changes = 0  # how often a version took a place, or left it
        self.loaded = False  # whether each of them has been loaded, or has failed
        self._models: dict[str, dict[str, Model]] = {}
        self._gone: dict[tuple[str, str], float] = {}  # what went lately, and when, in seconds of `monotonic`

    def __iter__(self) -> Iterator[Model]:
        for versions in self._models.values():
            yield from versions.values()

    def names(self) -> list[str]:
        """The models' names."""
        return list(self._models)

    async def load(self) -> None:
        """Find and load all models. A model that fails is unavailable and keeps the reason.

        Raises:
            HubError: BAD_INPUT if the repository does not exist.
        """
        for found in await asyncio.to_thread(scan, self.repository):
            self.put(self.made(found))
            if found.reason:
                logger.error("model unavailable", extra={"model": found.name, "reason": found.reason})
        if not self._models:
            logger.error("no models in the repository", extra={"directory": str(self.repository.resolve())})
        self.scanned = True
        self.changed()
        await asyncio.gather(*[model.load() for model in self])
        self.loaded = True
        self.changed()

    def made(self, found: Found) -> Model:
        """A model version, not loaded yet and not in here."""
        lane_metrics = self.metrics.lane(found.name, found.version)
        return Model(found.ruled(self.processes), self.bytes_held, lane_metrics, self.changed)

    def put(self, model: Model) -> Model | None:
        """Let calls find a model version from now on; returns the one that had its place."""
        self.changes += 1
        versions = self._models.get(model.name, {})
        before = versions.get(model.version)
        ordered = sorted({**versions, model.version: model}.items(), key=lambda item: int(item[0] or -1))
        self._models[model.name] = dict(ordered)
        return before

    def remove(self, model: Model) -> None:
        """Let calls find a model version no more."""
        self.changes += 1
        versions = self._models[model.name]
        del versions[model.version]
        if not versions:
            del self._models[model.name]
        if model.state is not ModelState.READY:
            return
        now = monotonic()
        self._gone = {key: at for key, at in self._gone.items() if now - at < NOTICED_S}
        self._gone[model.name, model.version] = self._gone[model.name, ""] = now

    def of(self, name: str) -> dict[str, Model]:
        """The versions of a model, the newest last; empty if there is no such model."""
        return dict(self._models.get(name, {}))

    def get(
        self,
        name: str,
        version: str = "",
        caller: Caller = ANYONE,
        named: bool = True,
        gateway: bool = False,
    ) -> Model:
        """A model version. Without `version`, it is the newest version that is ready, or else the newest version.

        Args:
            name, version: of the model.
            caller: who asks.
            named: whether the caller has named the model.
            gateway: whether it is for a call that a gateway sends elsewhere if this pod refuses it.

        Raises:
            HubError: FORBIDDEN if the model is none of the caller's, NOT_FOUND, NOT_READY if the repository has not been read
                yet, or BUSY if a gateway may not have noticed yet that the version went.
        """
        if caller is not ANYONE:
            caller.require_model(name, named)
        versions = self._models.get(name)
        if gateway and (name, version) in self._gone:
            self._refuse_gone(name, version)
        if versions is None:
            if not self.scanned:
                raise HubError(Kind.NOT_READY, "the model repository is being read")
            known = listed(filter(caller.sees, sorted(self._models)))
            raise HubError(Kind.NOT_FOUND, f"model '{name[:80]}' is unknown, expected one of: {known}")
        if version:
            if version not in versions:
                raise HubError(
                    Kind.NOT_FOUND,
                    f"model '{name}' has no version '{version[:80]}', it has {listed(versions)}",
                )
            return versions[version]
        newest = list(versions.values())
        return next((model for model in reversed(newest) if model.state is ModelState.READY), newest[-1])

    def _refuse_gone(self, name: str, version: str) -> None:
        versions = self._models.get(name, {})
        there = [versions[version]] if version in versions else [] if version else [*versions.values()]
        if monotonic() - self._gone[name, version] < NOTICED_S and not any(model.lane for model in there):
            raise HubError(Kind.BUSY, f"model '{name}' version '{version}' has just been unloaded here")

    def unnamed(self, kind: str, caller: Caller) -> str:
        """The model of a Predict that names none; `kind` is FEATURES or TEXT.

        Raises:
            HubError: BAD_INPUT if the request must name a model; NOT_READY if models are still loading.
        """
        name = unnamed_model(kind, {name: self.get(name).default_for for name in self._models})
        if name:
            return name
        if not self.loaded:
            raise HubError(Kind.NOT_READY, "models are still being loaded")
        raise must_name(filter(caller.sees, self._models))

    def versions(self, name: str) -> list[str]:
        """The versions of a model that are ready."""
        return [
            version
            for version, model in self._models.get(name, {}).items()
            if model.state is ModelState.READY
        ]

    def serves(self, name: str) -> bool:
        """Whether a model's default version would run a call."""
        return name in self._models and self.get(name).serves

    async def unload(self) -> None:
        """Unload all models side by side, so that many take no longer than the slowest one."""
        models = list(self)
        results = await asyncio.gather(*[model.unload() for model in models], return_exceptions=True)
        for model, result in zip(models, results, strict=True):
            if isinstance(result, BaseException):
                logger.error("model failed to unload", extra={"model": model.name}, exc_info=result)
