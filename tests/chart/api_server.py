"""An API server that knows only APIServices and Deployments, which `lookup` asks for. It counts its requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERBS = ["get", "list"]
KINDS = {
    "APIService": ("apiregistration.k8s.io/v1", "apiservices", False),
    "Deployment": ("apps/v1", "deployments", True),
}


def pages_of(things: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is at each path: the kinds of each group, and the objects."""
    pages: dict[str, dict[str, Any]] = {}
    for kind, (group, plural, namespaced) in KINDS.items():
        resource = {"name": plural, "namespaced": namespaced, "kind": kind, "verbs": VERBS}
        listed = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group,
            "resources": [resource],
        }
        pages[f"/apis/{group}"] = listed
    for thing in things:
        group, plural, namespaced = KINDS[thing["kind"]]
        within = f"/namespaces/{thing['metadata']['namespace']}" if namespaced else ""
        pages[f"/apis/{group}{within}/{plural}/{thing['metadata']['name']}"] = thing
    return pages


@dataclass
class ApiServer:
    """Where it is, and the paths that it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def api_server(*things: dict[str, Any]) -> Iterator[ApiServer]:
    """One that has these objects."""
    pages = pages_of(things)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.asked.append(path)
            missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            body = json.dumps(pages.get(path, missing)).encode()
            self.send_response(200 if path in pages else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = ApiServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
