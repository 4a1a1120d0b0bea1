"""A small client for the Kubernetes API: JSON calls, and lists that are followed with watches.

The scaler makes only seven kinds of call. A client library would bring types for every Kubernetes object, some 100 MB.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic, time
from typing import Any

import aiohttp
import msgspec

logger = logging.getLogger(__name__)

CALL_S = 5.0
# A watch is renewed after this time. A watch whose server has vanished looks like one without changes. It must be
# noticed before the list of gateways is so old that there is no reading any more.
WATCH_S = 30
LATE_S = 5.0
PAUSE_S = 1.0  # minimum time between two readings of a list
MOST_BYTES = 16 * 2**20  # of one object

Object = dict[str, Any]


class KubeError(Exception):
    """Kubernetes refused a call or did not answer it; `status` is 0 if there was no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Kube:
    """A client with the rights of a ServiceAccount.

    Args:
        url: address of the API.
        credentials: directory with `token` and `ca.crt`; both are read again for each call, because Kubernetes renews
            them.
        watch_s: seconds after which the server should end a watch.
        late_s: seconds after that until the client gives the watch up.
        pause_s: minimum number of seconds between two readings of a list.
    """

    def __init__(
        self,
        url: str,
        credentials: Path,
        watch_s: float = WATCH_S,
        late_s: float = LATE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.url = url.rstrip("/")
        self.credentials = credentials
        self.watch_s, self.late_s, self.pause_s = watch_s, late_s, pause_s
        self._session: aiohttp.ClientSession | None = None
        # Not the default context: in Python 3.13 it checks CAs more strictly, and many clusters' own CAs fail that
        # check (they have no key usage extension).
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority = ""
        # Seconds by which the clock of the API is ahead, as its last answer says.
        self.ahead_s: float | None = None

    async def start(self) -> None:
        """Read the credentials and prepare connections.

        Raises:
            OSError: if there are no credentials.
        """
        self._headers()
        connector = aiohttp.TCPConnector(ssl=self._context)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=MOST_BYTES)

    async def stop(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """Make one call and return the object in the answer. The body of a PATCH is a JSON merge patch.

        Raises:
            KubeError: if there is no answer with an object.
        """
        assert self._session is not None
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else msgspec.json.encode(body)
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        try:
            async with self._session.request(
                method, self.url + path, data=data, headers=self._headers(kind), timeout=timeout
            ) as answer:
                return await self._object(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(0, f"{method} {path}: {error!r}") from None

    async def follow(self, path: str, **selectors: str) -> AsyncIterator[list[Object]]:
        """Yield all objects of a list, now and whenever one of them is added, changed or deleted. It never ends.

        Args:
            path: the path of the list.
            selectors: `labelSelector` or `fieldSelector`.
        """
        silent = False
        while True:
            began = monotonic()
            try:
                async for objects in self._follow_once(path, selectors):
                    silent = False
                    yield objects
            except KubeError as error:
                if not silent:
                    logger.warning("list not followed", extra={"path": path, "error": str(error)})
                silent = True
            await asyncio.sleep(max(0.0, began + self.pause_s - monotonic()))

    async def _follow_once(self, path: str, selectors: dict[str, str]) -> AsyncIterator[list[Object]]:
        """Read the list once, and follow its watch until it ends."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(sock_connect=CALL_S, sock_read=self.watch_s + self.late_s)
        try:
            async with self._session.get(
                self.url + path, params=selectors, headers=self._headers(), timeout=timeout
            ) as answer:
                listed = await self._object(answer)
            objects = {item["metadata"]["uid"]: item for item in listed["items"]}
            yield list(objects.values())
            since = {"watch": "1", "timeoutSeconds": f"{self.watch_s:g}"}
            since["resourceVersion"] = listed["metadata"]["resourceVersion"]
            async with self._session.get(
                self.url + path, params={**selectors, **since}, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status != 200:
                    await self._object(answer)
                async for line in answer.content:
                    event = msgspec.json.decode(line)
                    item = event["object"]
                    if event["type"] == "ERROR":  # for example a version that is too old: read the list again
                        return
                    if event["type"] == "DELETED":
                        objects.pop(item["metadata"]["uid"], None)
                    else:
                        objects[item["metadata"]["uid"]] = item
                    yield list(objects.values())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, msgspec.DecodeError) as error:
            raise KubeError(0, f"GET {path}: {error!r}") from None

    async def _object(self, answer: aiohttp.ClientResponse) -> Object:
        found: Any = None
        with suppress(KeyError, ValueError):
            self.ahead_s = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time()
        text = await answer.read()
        with suppress(msgspec.DecodeError):
            found = msgspec.json.decode(text)
        if answer.status >= 300 or not isinstance(found, dict):
            said = found.get("message") if isinstance(found, dict) else text[:200].decode("utf-8", "replace")
            raise KubeError(answer.status, f"{answer.method} {answer.url.path}: {answer.status} {said}")
        return found

    def _headers(self, kind: str = "application/json") -> dict[str, str]:
        authority = (self.credentials / "ca.crt").read_text()
        if authority != self._authority:  # the old CA stays loaded, too; no new certificate is signed with it
            self._context.load_verify_locations(cadata=authority)
            self._authority = authority
        token = (self.credentials / "token").read_text().strip()
        return {"authorization": f"Bearer {token}", "accept": "application/json", "content-type": kind}


def named(name: str) -> dict[str, str]:
    """The selector for one object by its name. A client that may read only this object can follow a list with it."""
    return {"fieldSelector": f"metadata.name={name}"}
