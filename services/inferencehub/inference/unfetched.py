"""`python -m inferencehub.inference refetch MARK URI …`: `fetch` for a pod, where gateways learn why it failed.

A pod's status shows why a fetch failed once its container has ended, and gateways do not read that. So the first failure
ends it, and leaves the sentence in the file MARK. Where that is, this is a service without models: it tells gateways why,
as pods do whose models do not load, and fetches again, with longer and longer pauses, until the models are there.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from inferencehub.core.process.life import until_either
from inferencehub.core.process.logs import set_up_logs
from inferencehub.core.process.settings import read_settings
from inferencehub.core.process.tasks import until
from inferencehub.inference.fetch.rules import FetchError
from inferencehub.inference.fetch.uri import parse_uri
from inferencehub.inference.models.control.control import ByRepository
from inferencehub.inference.models.registry import Models
from inferencehub.inference.models.repository import Found
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 300.0  # between two fetches
NOT_HERE = ("HUB_MODEL_CONTROL", "HUB_LOAD_MODELS")  # settings for models that are there
STOPPED = 128 + signal.SIGTERM


class Unfetched(ByRepository):
    """The models of a repository that is not there: one, which says why.

    Args:
        models: the models of this process.
        name: what the model is called.
        reason: why it is not there.
    """

    def __init__(self, models: Models, name: str, reason: str) -> None:
        super().__init__(models)
        self._missing = Found(name, "", reason=reason)

    async def start(self) -> None:
        """See `Control`."""
        self.models.put(self.models.made(self._missing))
        self.models.scanned = self.models.loaded = True
        self.models.changed()


async def refetch(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Fetch again and again, and serve the reason why it failed; it ends once the models are there.

    Args:
        arguments: MARK, the URI, and what else `fetch` takes.
        environ: settings of the service, and credentials.

    Raises:
        SettingError: if a setting is wrong.
        OSError: if a port is taken.
        SystemExit: with `STOPPED` after SIGTERM.
    """
    mark, name, stopped = Path(arguments[0]), name_for(arguments[1]), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    reason, pause = sentence_in(mark), FIRST_PAUSE_S
    with TemporaryDirectory() as nothing:
        chosen = {key: value for key, value in environ.items() if key not in NOT_HERE}
        settings = read_settings(InferenceSettings, {**chosen, "HUB_MODELS": nothing})
        set_up_logs("inference", settings.log_format, settings.log_level)
        server = InferenceServer(settings, control=lambda _, models: Unfetched(models, name, reason))
        await server.start()
        await server.loaded()
        try:
            while not await fetched(arguments, stopped):
                if stopped.is_set():
                    sys.exit(STOPPED)
                server.models.get(name).fail(sentence_in(mark))
                await until(stopped, pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            await server.stop()


async def fetched(arguments: Sequence[str], stopped: asyncio.Event) -> bool:
    """Fetch in a process of its own, which ends if `stopped` is set; whether the models are there."""
    mark, *rest = arguments
    command = (sys.executable, "-m", "inferencehub.inference", "fetch", *rest, f"--message={mark}")
    process = await asyncio.create_subprocess_exec(*command)
    await until_either(process.wait(), stopped)
    if process.returncode is None:
        process.terminate()
    return await process.wait() == 0


def sentence_in(mark: Path) -> str:
    """Why the last fetch failed."""
    return mark.read_text()


def name_for(uri: str) -> str:
    """What stands for the models of a URI where models are listed."""
    try:
        return parse_uri(uri).name
    except FetchError:
        return "models"
