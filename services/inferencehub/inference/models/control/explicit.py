"""Models that calls load and unload: `HUB_MODEL_CONTROL=explicit`.

As in Triton's extension of the protocol for model repositories: a load of a model that serves loads it again, and if that
fails, what served before serves on. `config` and `file:<version>/<name>` stand in place of what the repository has.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from inferencehub.core.oip.extension import NOT_LOADED, UNLOADED
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.values.errors import HubError, Kind, bad_input, listed, shown
from inferencehub.inference.models.config import config_of_json
from inferencehub.inference.models.control.control import Parameters
from inferencehub.inference.models.control.copies import Copies
from inferencehub.inference.models.control.poll import look_at, names_in
from inferencehub.inference.models.control.revisions import Revisions, split
from inferencehub.inference.models.control.rollover import Rollover
from inferencehub.inference.models.model import ModelState
from inferencehub.inference.models.registry import Models
from inferencehub.inference.models.repository import Found, is_model, is_version, read
from inferencehub.pb import model_config_pb2 as config_pb

logger = logging.getLogger(__name__)

ALL = "*"
CONFIG, FILE, DEPENDENTS = "config", "file:", "unload_dependents"


class Explicit:
    """Loads and unloads models when it is told to.

    Args:
        models: the models of this process.
        at_start: the names of those to load at the start; `ALL` for all of the repository.
        poll_s: seconds between two looks at the names in the repository.

    Raises:
        OSError: if there is no place for copies.
    """

    by_calls = True

    def __init__(self, models: Models, at_start: Sequence[str], poll_s: float) -> None:
        self.models = models
        self.at_start = at_start
        self.poll_s = poll_s
        self.copies = Copies()
        self.rollover = Rollover(models, self.copies)
        self.revisions = Revisions()
        self._changes: set[asyncio.Task[None]] = set()
        self._newest: dict[str, asyncio.Task[None]] = {}  # of these, the last one of each model
        self._listing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Control`; a model that cannot be loaded is unavailable, and the log says why.

        Raises:
            HubError: BAD_INPUT if the repository does not exist.
        """
        await self._list()
        names = self.models.names() if ALL in self.at_start else self.at_start
        self.models.scanned = True
        self.models.changed()
        loads = [self._changed(name, self._load(name, {})) for name in names]
        for result in await asyncio.gather(*loads, return_exceptions=True):
            if isinstance(result, HubError):
                logger.error("model not loaded at the start", extra={"reason": result.detail})
        self.models.loaded = True
        self.models.changed()
        self._listing = asyncio.get_running_loop().create_task(self._keep_listing())

    async def stop(self) -> None:
        """See `Control`."""
        await cancelled([*self._changes, *([self._listing] if self._listing is not None else [])])
        await self.rollover.stop()
        await self.models.unload()
        await asyncio.to_thread(self.copies.close)

    async def load(self, name: str, parameters: Parameters) -> None:
        """Load a model, or load it again; it goes on if the caller leaves.

        Args:
            name: the model.
            parameters: `config`, a configuration as JSON; `file:<version>/<name>`, files in place of those of the
                repository, as bytes or as base64; `hub_revision`, the number of the change.

        Raises:
            HubError: NOT_FOUND if there is no such model, BAD_INPUT if it does not load, or for a wrong parameter, CONFLICT if
                a later change was made.
        """
        revision, parameters = split(parameters)
        work = partial(self._load, name, parameters, revision or None)
        await self._changed(name, self.revisions.once(name, revision, work))

    async def unload(self, name: str, parameters: Parameters) -> None:
        """Unload all versions of a model. It accepts no call any more; calls that it has are finished.

        Args:
            name: the model.
            parameters: `unload_dependents`: if it is an ensemble, the models of its steps too; `hub_revision`, the number of
                the change.

        Raises:
            HubError: NOT_FOUND if there is no such model, BAD_INPUT for a wrong parameter, CONFLICT if a later change was
                made.
        """
        revision, parameters = split(parameters)
        for key in parameters:
            if key != DEPENDENTS:
                raise bad_input(f"parameter {shown(key)} of an unload is unknown, expected {DEPENDENTS}")
        versions = self.models.of(name)
        if not versions:
            raise self._unknown(name)
        names = [name]
        if parameters.get(DEPENDENTS) is True:
            sources = [model.found.source for model in versions.values()]
            steps = [step for one in sources if one for step in one.config.ensemble_scheduling.step]
            names += dict.fromkeys(step.model_name for step in steps if self.models.of(step.model_name))
        for each in names:
            await self._changed(each, self.revisions.once(each, revision, partial(self._unload, each)))

    async def _changed(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run one change of a model after the other, to its end, even if the caller leaves."""
        before = self._newest.get(name)

        async def alone() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work

        def ended(change: asyncio.Task[None]) -> None:
            self._changes.discard(change)
            work.close()  # it has not begun if the change was cancelled before
            if self._newest.get(name) is change:
                del self._newest[name]
            if not change.cancelled():
                change.exception()  # nobody else asks for it if the caller has left

        self._newest[name] = change = asyncio.get_running_loop().create_task(alone())
        self._changes.add(change)
        change.add_done_callback(ended)
        await asyncio.shield(change)

    async def _keep_listing(self) -> None:
        """Gateways read in the index which models a load would find: they tell again of one that has come later."""
        while True:
            await asyncio.sleep(self.poll_s)
            try:
                await self._list()
            except (HubError, OSError):  # a volume that is away for a moment; a load says why
                pass
            except Exception:
                logger.exception("the model repository was not looked at")

    async def _list(self) -> None:
        """Let the index show the models of the repository that are not loaded, and those that have gone no more."""
        names = set(await asyncio.to_thread(names_in, self.models.repository))
        come = sorted(names - set(self.models.names()))
        gone = [
            one for one in self.models
            if one.reason == NOT_LOADED and one.name not in names and one.name not in self._newest
        ]  # fmt: skip
        for name in come:
            self._absent(name, "", NOT_LOADED)
        for model in gone:
            self.models.remove(model)
            self.models.metrics.shown.drop(model.metrics.own)
        if come or gone:
            self.models.changed()

    def _absent(self, name: str, version: str, reason: str) -> None:
        model = self.models.made(Found(name, version, reason=reason))
        model.asked = False
        self.models.metrics.forget(name, version)
        self.models.put(model)

    async def _load(self, name: str, parameters: Parameters, revision: int | None = None) -> None:
        config, files = overrides(name, parameters)
        directory, written = self.models.repository / name, None
        try:
            if files:
                directory = written = await asyncio.to_thread(self.copies.written, name, files)
            elif not is_name(name) or not await asyncio.to_thread(directory.is_dir):
                raise self._unknown(name)
            why = await self._bring(name, directory, config, revision)
        except OSError as error:
            raise bad_input(f"model '{name}' was not loaded: {error.strerror or error}") from None
        finally:
            if written is not None:
                await asyncio.to_thread(self.copies.remove, written)
        if why:
            raise bad_input(f"model '{name}' was not loaded: {why}")

    async def _bring(
        self, name: str, directory: Path, config: config_pb.ModelConfig | None, revision: int | None
    ) -> str:
        seen = await asyncio.to_thread(look_at, directory)
        found = await asyncio.to_thread(read, directory, config)
        unchanged: Callable[[], bool] = lambda: look_at(directory) == seen  # noqa: E731
        return await self.rollover.change(name, found, (), unchanged, revision)

    async def _unload(self, name: str) -> None:
        versions = [
            version for version, model in self.models.of(name).items() if model.state is ModelState.READY
        ]
        await self.rollover.change(name, ())
        for version in versions or [""]:
            self._absent(name, version, UNLOADED)
        self.models.changed()

    def _unknown(self, name: str) -> HubError:
        known = listed(self.models.names())
        return HubError(
            Kind.NOT_FOUND, f"model '{name[:80]}' is not in the repository, expected one of: {known}"
        )


def is_name(name: str) -> bool:
    """Whether it may be the name of a model, a directory of the repository."""
    return name != "" and is_model(name) and PurePosixPath(name).name == name and "\0" not in name


def overrides(name: str, parameters: Parameters) -> tuple[config_pb.ModelConfig | None, dict[str, bytes]]:
    """What a load has in place of what the repository has: the configuration, and files by their paths.

    Raises:
        HubError: BAD_INPUT that names the parameter.
    """
    config, files = None, {}
    for key, value in parameters.items():
        if key == CONFIG and isinstance(value, str):
            config = config_of_json(value, name)
        elif key.startswith(FILE) and isinstance(value, str | bytes):
            files[path_of(key)] = value if isinstance(value, bytes) else decoded(key, value)
        else:
            raise bad_input(
                f"parameter {shown(key)} of a load is unknown or has another type, expected '{CONFIG}' with a text or "
                f"'{FILE}<version>/<name>' with a file's bytes"
            )
    if files and config is None:
        raise bad_input(f"the load has files and no parameter '{CONFIG}', expected one that goes with them")
    if files and not is_name(name):
        raise bad_input(f"{shown(name)} is no name of a model, expected that of a directory")
    return config, files


def path_of(key: str) -> str:
    """The path in the model's directory that a parameter `file:<version>/<name>` names.

    Raises:
        HubError: BAD_INPUT if it is another one.
    """
    path = PurePosixPath(key.removeprefix(FILE))
    outside = path.is_absolute() or ".." in path.parts or "\0" in key
    if outside or len(path.parts) < 2 or not is_version(path.parts[0]):
        raise bad_input(f"parameter {shown(key)}, expected '{FILE}<version>/<name>' as 'file:1/model.onnx'")
    return str(path)


def decoded(key: str, value: str) -> bytes:
    """A file's bytes out of base64.

    Raises:
        HubError: BAD_INPUT if it is none.
    """
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad_input(f"parameter {shown(key)} is no base64") from None
