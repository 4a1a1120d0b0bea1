"""Errors as HTTP answers them: their lines, and those that only HTTP has."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from inferencehub.core.http1.handler import Head
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.http_api.response import JSON
from inferencehub.gateway.json_codec.answer_json import error_json


class WrongMethod(HubError):
    """A method that a path does not take; `allow` lists those that it takes."""

    def __init__(self, head: Head, allow: str) -> None:
        path = str(head.path[:120], "latin-1")
        super().__init__(Kind.WRONG_METHOD, f"'{path}' does not take {head.method[:20]}, expected {allow}")
        self.allow = allow


def error_lines(error: HubError) -> bytes:
    """The lines of an error's answer."""
    lines = JSON
    if error.kind in (Kind.BUSY, Kind.NOT_READY):
        lines += b"retry-after: %d\r\n" % error.retry_after
    if isinstance(error, WrongMethod):
        lines += b"allow: %b\r\n" % error.allow.encode()
    return lines


def pages_with_errors(app: Any) -> Any:
    """An ASGI application that answers what `app` raises: Starlette's 404 and 405, and errors of ours."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = app  # so that Starlette's routes raise their 404 and 405 instead of answering them
        try:
            await app(scope, receive, send)
        except (HubError, HTTPException) as raised:
            error = raised if isinstance(raised, HubError) else routing_error(raised, scope)
            lines = [line.split(b": ", 1) for line in error_lines(error).split(b"\r\n")[:-1]]
            await send({"type": "http.response.start", "status": error.kind.http, "headers": lines})
            await send({"type": "http.response.body", "body": error_json(error)})

    return answering


def routing_error(error: HTTPException, scope: Any) -> HubError:
    """Starlette's 404 or 405 as ours."""
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        head = Head(scope["method"], scope["raw_path"], {}, None, scope["http_version"], 0)
        return WrongMethod(head, allow)
    path = scope["path"][:120]
    return HubError(
        Kind.NOT_FOUND, f"there is nothing at '{path}', expected one of the paths that /docs shows"
    )
