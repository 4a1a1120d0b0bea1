"""All models of this process: found in the repository, loaded in parallel, looked up by name and version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip.unnamed_model import must_name, unnamed_model
from inferencehub.core.values.errors import HubError, Kind, listed
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.model import Model, ModelState
from inferencehub.inference.models.repository import scan
from inferencehub.inference.runtimes.runtime import ProcessRules

logger = logging.getLogger(__name__)


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
        self.loaded = False  # whether each of them has been loaded, or has failed
        self._models: dict[str, dict[str, Model]] = {}

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
            lane_metrics = self.metrics.lane(found.name, found.version)
            model = Model(found.ruled(self.processes), self.bytes_held, lane_metrics, self.changed)
            self._models.setdefault(found.name, {})[found.version] = model
            if found.reason:
                logger.error("model unavailable", extra={"model": found.name, "reason": found.reason})
        if not self._models:
            logger.error("no models in the repository", extra={"directory": str(self.repository.resolve())})
        self.scanned = True
        self.changed()
        await asyncio.gather(*[model.load() for model in self])
        self.loaded = True
        self.changed()

    def get(self, name: str, version: str = "", caller: Caller = ANYONE, named: bool = True) -> Model:
        """A model version. Without `version`, it is the newest version that is ready, or else the newest version.

        Args:
            name, version: of the model.
            caller: who asks.
            named: whether the caller has named the model.

        Raises:
            HubError: FORBIDDEN if the model is none of the caller's, NOT_FOUND, or NOT_READY if the repository has not been
                read yet.
        """
        if caller is not ANYONE:
            caller.require_model(name, named)
        versions = self._models.get(name)
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
