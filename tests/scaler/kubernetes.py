"""The part of the Kubernetes API that the scaler calls: HTTPS with tokens, objects with versions, lists with watches.

Objects are kept by their path. A test can cause the problems that clients meet: an expired token, a lost connection, a
watch that ends at once, sends ERROR, or sends nothing any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import web

from inferencehub.core.http1.server import listen
from inferencehub.scaler.kube import Kube
from inferencehub.scaler.metrics_api import certificate

Object = dict[str, Any]
TOKEN = "first"


class Kubernetes:
    """The server.

    Args:
        credentials: where its `ca.crt` and a `token` go.
    """

    def __init__(self, credentials: Path) -> None:
        self.credentials = credentials
        self.objects: dict[str, Object] = {}
        self.tokens = {TOKEN}
        self.calls: list[str] = []
        self.denied: set[tuple[str, str]] = set()  # verbs and resources that a client may not use
        self.mute = False  # watches say nothing, and end when the client ends them
        self.short = False  # watches end at once
        self.between: Callable[[str], object] = lambda path: None  # what others do after an object was read
        self.url = ""
        self._versions = count(1)
        self._watches: dict[asyncio.Queue[Object | None], web.Request] = {}
        self._runner: web.AppRunner | None = None
        (credentials / "token").write_text(TOKEN)

    async def start(self, port: int = 0) -> None:
        """Listen, with a certificate of its own each time."""
        made = certificate.make(("localhost",), None)
        (self.credentials / "ca.crt").write_text(made.chain)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        sock = listen(port)
        await web.SockSite(self._runner, sock, ssl_context=made.context(made.chain)).start()
        self.url = f"https://localhost:{sock.getsockname()[1]}"

    async def stop(self) -> None:
        """Listen no more, and close all connections."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def write(self, path: str, item: Object | None = None) -> Object:
        """Make or change an object."""
        meta = {"name": path.rpartition("/")[2], "uid": path, **(item or {}).get("metadata", {})}
        if "/namespaces/" in path.rpartition("/")[0]:
            meta["namespace"] = path.partition("/namespaces/")[2].split("/")[0]
        found = {**(item or {}), "metadata": {**meta, "resourceVersion": str(next(self._versions))}}
        self._tell("MODIFIED" if path in self.objects else "ADDED", path, found)
        self.objects[path] = found
        return found

    def delete(self, path: str) -> None:
        """Delete an object."""
        self._tell("DELETED", path, self.objects.pop(path))

    def error(self) -> None:
        """End all watches as where their version is too old."""
        for queue in self._watches:
            queue.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": 410}})
            queue.put_nowait(None)

    def cut(self) -> None:
        """Lose all connections of watches."""
        for queue, request in self._watches.items():
            if request.transport is not None:
                request.transport.abort()
            queue.put_nowait(None)

    @property
    def watched(self) -> int:
        """Watches that stand."""
        return len(self._watches)

    def count(self, start: str) -> int:
        """Calls that begin so."""
        return sum(call.startswith(start) for call in self.calls)

    def _tell(self, kind: str, path: str, item: Object) -> None:
        for queue, request in self._watches.items():
            if not self.mute and belongs(path, item, request.path, dict(request.query)):
                queue.put_nowait({"type": kind, "object": item})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path_qs}")
        if request.headers.get("authorization") not in {f"Bearer {token}" for token in self.tokens}:
            return refused(401, "Unauthorized")
        body = json.loads(await request.read() or b"{}")
        if request.path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in self.denied
            return web.json_response({"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}})
        path = request.path.removesuffix("/scale")  # it has the version and the replicas of its Deployment
        found = self.objects.get(path)
        if found is None:
            return await self._list(request) if request.method == "GET" else refused(404, f"no {path}")
        if request.method == "GET":
            self.between(path)
            return web.json_response(found)
        meta = body.get("preconditions" if request.method == "DELETE" else "metadata", {})
        if any(meta.get(key, value) != value for key, value in found["metadata"].items() if key in KEYS):
            return refused(409, "the object has been modified")
        if request.method == "DELETE":
            self.delete(path)
            return web.json_response({"kind": "Status", "status": "Success"})
        return web.json_response(self.write(path, body if request.method == "PUT" else merged(found, body)))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        if ("list", request.path.rpartition("/")[2]) in self.denied:
            return refused(403, f"cannot list {request.path.rpartition('/')[2]}")
        if not request.path.rpartition("/")[2].endswith("s"):
            return refused(404, f"no {request.path}")
        if "watch" in query:
            return await self._watch(request)
        items = [item for path, item in self.objects.items() if belongs(path, item, request.path, query)]
        version = str(next(self._versions))
        return web.json_response({"kind": "List", "metadata": {"resourceVersion": version}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        if self.short:
            return answer
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        self._watches[queue] = request
        try:
            async with asyncio.timeout(None if self.mute else float(request.query["timeoutSeconds"])):
                while (event := await queue.get()) is not None:
                    await answer.write(json.dumps(event).encode() + b"\n")
        except (TimeoutError, ConnectionError):
            pass
        finally:
            del self._watches[queue]
        return answer


KEYS = ("uid", "resourceVersion")


def refused(status: int, message: str) -> web.Response:
    """An error as Kubernetes writes it."""
    return web.json_response({"kind": "Status", "message": message, "code": status}, status=status)


def merged(found: Object, change: Object) -> Object:
    """A JSON merge patch."""
    return found | {
        key: merged(found.get(key) or {}, value) if isinstance(value, dict) else value
        for key, value in change.items()
    }


def belongs(path: str, item: Object, listed: str, query: dict[str, str]) -> bool:
    """Whether an object is in a list."""
    parent = path.rpartition("/")[0]
    before, _, after = parent.partition("/namespaces/")
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    label, _, value = query.get("labelSelector", "").partition("=")
    chosen = not label or item["metadata"].get("labels", {}).get(label) == value
    return (
        listed in (parent, f"{before}/{after.partition('/')[2]}") and name in ("", item_name(item)) and chosen
    )


def item_name(item: Object) -> str:
    """Its name."""
    return str(item["metadata"]["name"])


@asynccontextmanager
async def kubernetes(directory: Path, **limits: float) -> AsyncIterator[tuple[Kubernetes, Kube]]:
    """The server and a client of it, which reads a list that ended again after 0.1 s if not told otherwise."""
    server = Kubernetes(directory)
    await server.start()
    kube = Kube(server.url, directory, **{"pause_s": 0.1, **limits})
    await kube.start()
    try:
        yield server, kube
    finally:
        await kube.stop()
        await server.stop()
