"""An API server that knows only APIServices, which is enough for `lookup`. It counts its requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GROUP = "/apis/apiregistration.k8s.io/v1"
VERBS = ["get", "list"]
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "apiregistration.k8s.io/v1",
    "resources": [{"name": "apiservices", "namespaced": False, "kind": "APIService", "verbs": VERBS}],
}


@dataclass
class ApiServer:
    """Where it is, and the paths that it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def api_server(*services: dict[str, Any]) -> Iterator[ApiServer]:
    """One that has these APIServices."""
    pages = {f"{GROUP}/apiservices/{thing['metadata']['name']}": thing for thing in services}
    pages[GROUP] = RESOURCES

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
