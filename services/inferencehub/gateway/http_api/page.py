"""A request for a page, which Starlette answers: what passes the edge with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inferencehub.core.http1.asgi import AsgiRequest
from inferencehub.core.http1.handler import Head
from inferencehub.core.http1.response import Reply
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.edge import Edge


class PageCall(AsgiRequest):
    """A request for a page; its exchange is for the access line and the id."""

    __slots__ = ("exchange",)

    def __init__(self, head: Head, most_bytes: int, exchange: Exchange, needs_body: bool) -> None:
        super().__init__(head, most_bytes, needs_body=needs_body)
        self.run = None
        self.exchange = exchange
