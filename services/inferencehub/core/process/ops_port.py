"""The ops port of every process: metrics, probes, and what the tiers ask each other. Never exposed to callers.

GET /metrics   Prometheus text
GET /healthz   200 while the process works: the liveness question
GET /readyz    200 while it takes requests, else 503: the readiness question, with the reason
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Answer = tuple[int, str, bytes]
Page = Callable[[Any], Answer]  # from the scope of ASGI to status, content type and body
JSON = "application/json"


def ops_app(registry: CollectorRegistry, ready: Callable[[], str], more: dict[str, Page]) -> Any:
    """The ASGI application.

    Args:
        registry: whose metrics are shown.
        ready: "" while the process takes requests, else why it does not.
        more: further paths, each with what answers it.
    """

    def metrics(scope: Any) -> Answer:
        accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
        encoder, content_type = choose_encoder(accept)
        return 200, content_type, encoder(registry)

    def healthz(scope: Any) -> Answer:
        return 200, JSON, b'{"live":true}'

    def readyz(scope: Any) -> Answer:
        reason = ready()
        return (503 if reason else 200), JSON, msgspec.json.encode({"ready": not reason, "reason": reason})

    pages: dict[str, Page] = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz, **more}

    def nothing(scope: Any) -> Answer:
        expected = ", ".join(pages)
        sentence = f"no page '{scope['path'][:80]}', expected one of {expected}"
        return 404, JSON, msgspec.json.encode({"error": sentence})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, content_type, body = pages.get(scope["path"], nothing)(scope)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
