"""Pages: requests that Starlette answers, with the exchange that the edge needs, and with our answers to errors."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from inferencehub.core.auth.audit import Audit
from inferencehub.core.auth.caller import Action, Caller
from inferencehub.core.http1.asgi import AsgiRequest
from inferencehub.core.http1.coding.deflate import VARY, WORTH, coding_for
from inferencehub.core.http1.handler import Head
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.response import Content, WrongMethod, compressed, error_lines
from inferencehub.gateway.json_codec.answer_json import encode, error_json
from inferencehub.gateway.json_codec.json_text import decode
from inferencehub.gateway.json_codec.openai.errors import asked_model, has_openai_errors, page_error

# The pages that read a body. Others answer at once; a body that comes for them is dropped.
BODIES = frozenset(("/v2/logging", "/v2/repository/index", "/v1/batches"))
MOST_BYTES = 2**17  # of such a body
FILES = frozenset(("/v2/jobs", "/v1/files"))  # that read one as large as that of a call
# Pages that are for everybody: probes, and what is the same in every installation.
OPEN = frozenset(
    ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
)
# The live page is for everybody like the one at /docs, and its events are not.
CONSOLE, CONSOLE_EVENTS = "/console", "/console/events"
CONSOLE_FILE = re.compile(rf"{CONSOLE}(/[a-z]+\.(js|css))?")
CHANGES = re.compile(r"/v2/repository/models/.*/(un)?load")  # of models, by POST
CONTROLS = re.compile(rf"/v2/logging|/v2/(models/.*/)?trace/setting|{CHANGES.pattern}")  # by POST
JOBS = re.compile(r"/(v2/jobs|v1/files|v1/batches)(/.*)?")  # who may call models may have jobs
B = TypeVar("B")


class PageCall(AsgiRequest):
    """A request for a page. Its exchange has the id and times; `answered` is True once the access line is written."""

    __slots__ = ("answered", "exchange")

    def __init__(self, head: Head, most_bytes: int, exchange: Exchange) -> None:
        small = reads(head, BODIES) or changes(head)
        needs_body = small or reads(head, FILES)
        super().__init__(head, MOST_BYTES if small else most_bytes, needs_body=needs_body)
        self.run = None
        self.state = {"exchange": exchange}
        self.exchange = exchange
        exchange.action = action_of(head)
        self.answered = False


def caller_of(request: Request) -> Caller:
    """Who asks for a page."""
    exchange: Exchange = request.state.exchange
    return exchange.caller


def action_of(head: Head) -> Action | None:
    """What a request for a page does; None for pages that are for everybody."""
    path = unquote(head.path.decode("latin-1"))
    if path in OPEN or CONSOLE_FILE.fullmatch(path):
        return None
    if JOBS.fullmatch(path):
        return Action.INFER
    controls = head.method == "POST" and CONTROLS.fullmatch(path) is not None
    return Action.CONTROL if controls else Action.DESCRIBE


def reads(head: Head, paths: frozenset[str]) -> bool:
    """Whether a request is for one of these pages, by the method that reads its body."""
    return head.method == "POST" and unquote(head.path.decode("latin-1")) in paths


def changes(head: Head) -> bool:
    """Whether a request loads or unloads a model."""
    return head.method == "POST" and CHANGES.fullmatch(unquote(head.path.decode("latin-1"))) is not None


async def body_of(request: Request, kind: type[B]) -> B:
    """The body of a page's request, as a dict or a struct whose fields have defaults; an empty body gives these.

    The content type is not looked at: clients of Triton send none, or that of binary data.

    Raises:
        HubError: BAD_INPUT if it is no such JSON object.
    """
    body = await request.body()
    if not body.strip():
        return kind()
    value: B = decode(msgspec.json.Decoder(kind), body)
    return value


def json(value: Any) -> Response:
    """A page of JSON."""
    return Response(encode(value), media_type="application/json")


def pages_with_errors(app: Any, audit: Audit) -> Any:
    """An ASGI application that runs `app` and answers its exceptions: Starlette's 404 and 405, and `HubError`.

    Args:
        app: the pages.
        audit: gets who is refused.
    """

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        send = compressing(scope, send)
        scope["app"] = app  # so that Starlette's routes raise their 404 and 405 instead of answering them
        try:
            await app(scope, receive, send)
        except (HubError, HTTPException) as raised:
            # Not in a variable of this frame: the traceback refers to the frame, and both would stay in memory.
            if isinstance(raised, HubError):
                exchange: Exchange = scope["state"]["exchange"]
                audit.refused(raised, exchange.peer, exchange.id, exchange.caller)
            await send_error(
                raised if isinstance(raised, HubError) else routing_error(raised, scope), scope["path"], send
            )

    return answering


def compressing(scope: Any, send: Any) -> Any:
    """`send` of ASGI for a page that is one message: it compresses a large page, if the caller accepts that.

    Pages of /v2 stay as they are: the asyncio client of Triton says that it accepts gzip, and does not decompress them.
    So do files and events, which come in several messages.
    """
    if scope["path"].startswith(("/v2", "/v1/files/", CONSOLE_EVENTS)):
        return send
    accepted = dict(scope["headers"]).get(b"accept-encoding", b"")
    start: dict[str, Any] = {}

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body = message.get("body", b"")
        if len(body) >= WORTH:
            content: Content = (VARY, [body])
            if coding := coding_for(accepted):
                content = await asyncio.to_thread(compressed, (b"", [body]), coding)
            start["headers"] = [*start["headers"], *header_list(content[0])]
            message = {**message, "body": b"".join(content[1])}
        await send(start)
        await send(message)

    return sending


def header_list(lines: bytes) -> list[list[bytes]]:
    """Header lines as ASGI's names and values."""
    return [line.split(b": ", 1) for line in lines.split(b"\r\n")[:-1]]


def error_body(error: HubError, path: str) -> bytes:
    """An error in the shape of the path's API."""
    return page_error(error, path) if has_openai_errors(path) else error_json(error)


async def send_error(error: HubError, path: str, send: Any) -> None:
    """Answer with an error."""
    body = error_body(error, path)
    headers = header_list(error_lines(error))
    await send({"type": "http.response.start", "status": error.kind.http, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def routing_error(error: HTTPException, scope: Any) -> HubError:
    """The `HubError` for Starlette's 404 or 405."""
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return WrongMethod(scope["method"], scope["raw_path"], allow)
    if model := asked_model(scope["path"]):
        return HubError(Kind.NOT_FOUND, f"model '{model[:120]}' is unknown, expected a name without '/'")
    return nothing_at(scope["path"])


def nothing_at(path: str) -> HubError:
    """The error for a path that no page has."""
    return HubError(
        Kind.NOT_FOUND, f"there is nothing at '{path[:120]}', expected one of the paths that /docs shows"
    )
