"""Who decides which models a pod serves: its repository at the start, its repository at any time, or calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.inference.models.registry import Models

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # between two tries to start
Parameters = Mapping[str, bool | int | str | bytes]


class Control(Protocol):
    """One of the ways; `HUB_MODEL_CONTROL` chooses. `by_calls` says whether calls decide."""

    by_calls: bool

    async def start(self) -> None:
        """Load what is to be served at the start; it ends when each of these models has been loaded or has failed."""

    async def stop(self) -> None:
        """Change nothing any more, and unload all models. No call may run any more."""

    async def load(self, name: str, parameters: Parameters) -> None:
        """RepositoryModelLoad: load a model, or load it again.

        Args:
            name: the model.
            parameters: of the request, by name.

        Raises:
            HubError: UNSUPPORTED if calls do not decide, else see `Explicit.load`.
        """

    async def unload(self, name: str, parameters: Parameters) -> None:
        """RepositoryModelUnload: unload all versions of a model.

        Raises:
            HubError: as `load`.
        """


async def started(control: Control) -> None:
    """Start a control; again and again while that fails, as for a volume that is away for a moment."""
    failing = ""
    while True:
        try:
            return await control.start()
        except Exception as error:  # whatever it is, nobody else would load the models
            if str(error) != failing:
                unknown = not isinstance(error, HubError | OSError)
                logger.error("models can't be loaded", extra={"reason": str(error)}, exc_info=unknown)
            failing = str(error)
        await asyncio.sleep(AGAIN_S)


class ByRepository:
    """The models of the repository at the start: `HUB_MODEL_CONTROL=none`.

    Args:
        models: the models of this process.
    """

    mode = "none"
    by_calls = False

    def __init__(self, models: Models) -> None:
        self.models = models

    async def start(self) -> None:
        """See `Control`.

        Raises:
            HubError: BAD_INPUT if the repository does not exist.
        """
        await self.models.load()

    async def stop(self) -> None:
        """See `Control`."""
        await self.models.unload()

    async def load(self, name: str, parameters: Parameters) -> None:
        """See `Control`."""
        raise self._refusal()

    async def unload(self, name: str, parameters: Parameters) -> None:
        """See `Control`."""
        raise self._refusal()

    def _refusal(self) -> HubError:
        return HubError(
            Kind.UNSUPPORTED,
            f"models are not loaded or unloaded by calls: HUB_MODEL_CONTROL is '{self.mode}', expected 'explicit'",
        )
