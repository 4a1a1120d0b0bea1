"""Heads of requests that are known, so that they are parsed once: a caller sends the same one again and again.

A head is known by its bytes, all of them. What was parsed of a request then holds for each that begins with the same
bytes and has a body of the same size: its URL, its fields, who answers it, where it ends. Heads that cannot come again,
for they hold an id, are not kept, nor those with secrets, nor large ones; and no more than `MOST`, whoever makes them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from inferencehub.gateway.http_api.direct import Endpoint

MOST, LARGEST = 512, 2048  # heads, and bytes of one
UNIQUE = frozenset((b"x-request-id", b"traceparent", b"transfer-encoding"))  # the last: no size is told
SECRET = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"))
NOT_KEPT = UNIQUE | SECRET
END = b"\r\n\r\n"


class Head(NamedTuple):
    """What was parsed of a head whose request keeps its connection.

    Args:
        path: the URL.
        fields: the headers, names in lower case.
        endpoint: who answers.
        size: bytes of the body.
    """

    path: str
    fields: Mapping[bytes, bytes]
    endpoint: Endpoint
    size: int


class KnownHeads:
    """All that are known to a process."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, int] | None:
        """The head that a request begins with, and where it ends; None where it is not known or more is behind it."""
        end = data.find(END) + 4
        head = self._heads.get(data[:end])
        if head is None or len(data) > end + head.size:
            return None
        return head, end

    def learn(self, data: bytes, head: Head) -> None:
        """Keep a head, given by its bytes; not one in a rarer form, as behind empty lines, which `find` would miss."""
        if data.find(END) + 4 != len(data) or len(data) > LARGEST or not NOT_KEPT.isdisjoint(head.fields):
            return
        if len(self._heads) >= MOST:
            self._heads.clear()
        self._heads[data] = head
