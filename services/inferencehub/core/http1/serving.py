"""What the connections of one server share."""

from __future__ import annotations

from inferencehub.core.http1.handler import Budget, Handler, Headers
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.unread import Unread


class Serving:
    """See the module's text.

    Args:
        handler: answers the requests.
        limits, budget: what callers may take.
    """

    def __init__(self, handler: Handler, limits: Limits, budget: Budget) -> None:
        self.handler = handler
        self.limits = limits
        self.budget = budget
        self.unread = Unread(limits, budget)
        self._headers: Headers = []
        self._lines = b""

    def lines(self, headers: Headers) -> bytes:
        """uvicorn's headers for every answer as lines; their list is a new one each second."""
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines
