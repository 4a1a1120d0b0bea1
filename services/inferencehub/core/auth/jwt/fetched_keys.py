"""The keys that verify tokens, fetched from the identity provider beside the requests."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from inferencehub.core.audit import logger
from inferencehub.core.auth.jwt.public_keys import PublicKeys
from inferencehub.core.files.watched import BadFile

EVERY_S = 300.0  # between two fetches
# At least between two fetches, also where tokens come whose key is unknown, and after a failure.
AGAIN_S = 30.0
FIRST_S = 2.0  # after a failure, as long as there are no keys at all
TIMEOUT_S = 5.0  # of a fetch
MOST_BYTES = 2**20  # of a set


class FetchedKeys:
    """The keys at a URL. Those of the last good answer hold for as long as no better one comes.

    Args:
        url: of a JSON Web Key Set; https, or http on this machine.
        setting: the name of the setting that has the URL, for logs and metrics.
        authorities: file with the certificates of the authorities that sign the server's one, as PEM; "" for those of
            the system.
        again_s: seconds between two fetches at least.

    `reloads` counts answers that changed the keys; `refused` is true while the last fetch has failed, and `reason` says why.

    Raises:
        BadFile: if the file can't be used.
    """

    def __init__(self, url: str, setting: str, authorities: str = "", again_s: float = AGAIN_S) -> None:
        self.url = url
        self.setting = setting
        self.keys: PublicKeys | None = None
        self.reloads = 0
        self.refused = False
        self.reason = ""
        self._again_s = again_s
        self._text = b""
        self._wanted = asyncio.Event()
        try:
            context = ssl.create_default_context(cafile=authorities or None)
        except OSError as error:
            raise BadFile(f"HUB_JWT_CA names {authorities}, which cannot be used: {error}") from None
        # A proxy sees nothing of https; what it says for http would be believed.
        local = [ProxyHandler({})] if url.startswith("http:") else []
        self._opener = build_opener(*local, HTTPSHandler(context=context), NoRedirects())
        self._task: asyncio.Task[None] | None = None
        self._thread: Thread | None = None

    def missing(self) -> None:
        """See `KeySource`."""
        self._wanted.set()

    def start(self) -> None:
        """Fetch the keys from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep_fresh())

    async def stop(self) -> None:
        """Fetch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep_fresh(self) -> None:
        while True:
            self._wanted.clear()
            await self._fetch_once()
            await asyncio.sleep(FIRST_S if self.keys is None else self._again_s)
            if not self.refused:
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S - self._again_s):
                        await self._wanted.wait()

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                text, keys = await self._fetched()
            if text != self._text:
                self.keys, self._text = keys, text
                self.reloads += 1
                logger.info("files reloaded", extra={"setting": self.setting})
            self.refused, self.reason = False, ""
        except Exception as error:  # whatever it is, the next fetch may be better
            reason = "it took too long" if isinstance(error, TimeoutError) else reason_of(error)
            self.reason = f"the keys of tokens could not be fetched: {reason}"
            if not self.refused:
                extra = {"setting": self.setting, "reason": reason}
                logger.error("the keys of tokens could not be fetched", extra=extra)
            self.refused = True

    def _fetched(self) -> asyncio.Future[tuple[bytes, PublicKeys]]:
        """What `_fetch` returns; a thread of its own runs it, for which nobody waits at the end of the process."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError  # of the last fetch, which the server still holds up
        loop = asyncio.get_running_loop()
        found: asyncio.Future[tuple[bytes, PublicKeys]] = loop.create_future()

        def settle(result: tuple[bytes, PublicKeys] | None, error: Exception | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            elif result is not None:
                found.set_result(result)

        def run() -> None:
            result, failure = None, None
            try:
                result = self._fetch()
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, result, failure)

        self._thread = Thread(target=run, name="token keys", daemon=True)
        self._thread.start()
        return found

    def _fetch(self) -> tuple[bytes, PublicKeys]:
        """The set as it is now, as text and read.

        Raises:
            OSError: if there is no good answer.
            ValueError: if it is too large, or no such set.
        """
        text = b""
        asked = Request(self.url, headers={"Accept": "application/json"})
        with self._opener.open(asked, timeout=TIMEOUT_S) as answer:
            while part := answer.read1(2**16):
                text += part
                if len(text) > MOST_BYTES:
                    raise ValueError(f"the answer is larger than {MOST_BYTES} bytes")
        return text, PublicKeys(text)


def reason_of(error: Exception) -> str:
    """Why a fetch failed, for the log."""
    return str(error.reason if type(error) is URLError else error)


class NoRedirects(HTTPRedirectHandler):
    """Takes a redirect for an error: the keys come from where the setting says, and from nowhere else."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        """See `urllib.request.HTTPRedirectHandler`: None for an error."""
