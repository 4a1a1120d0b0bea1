"""Stages: rules that every call passes before it runs, in the order of a list, the same on all fronts.

A stage has four methods. `check` is called when the head of a request is complete and its body is not read yet, also for
questions about models, but not for what everybody may do (`exchange.action`). There a stage can look at the caller and at
the size of the body. `named` is called when the name of the model is known, before anything is asked or woken for it.
`admit` is called when the model and the rows are known, before the call enters the lane. `again` is called every few
seconds while a stream of answers goes on.
"""

from __future__ import annotations

from inferencehub.core.auth.authentication import Metadata
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.requests import InferRequest
from inferencehub.gateway.calls.exchange import Exchange


class Stage:
    """A rule for calls. A stage overrides only the methods that it needs; others are not called."""

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """Check a request whose body is not read yet.

        Raises:
            HubError: if the stage refuses the request.
        """

    def named(self, exchange: Exchange, model: str, by_caller: bool) -> None:
        """Check a call whose model is known by name. Whether there is such a model is not known yet.

        Args:
            exchange: the call.
            model: the name.
            by_caller: whether the caller has named it.

        Raises:
            HubError: if the stage refuses the call.
        """

    def admit(self, exchange: Exchange, request: InferRequest, rows: int) -> None:
        """Check a request that fits its model.

        Args:
            exchange: the call; `exchange.lane` is the lane that it would enter.
            request: what the model would get.
            rows: how many it has.

        Raises:
            HubError: if the stage refuses the request.
        """

    def again(self, exchange: Exchange, metadata: Metadata) -> None:
        """Check whether a call that was admitted may go on.

        Raises:
            HubError: if it may not.
        """


class Headers(Stage):
    """Keeps the headers of calls, where the file of traffic may choose a version by one of them."""

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets `exchange.fields`."""
        exchange.fields = metadata


class Memory(Stage):
    """Refuses a body for which the process has no room, before it is read.

    Args:
        bytes_held: the process's budget of bytes.
    """

    def __init__(self, bytes_held: ByteBudget) -> None:
        self.bytes_held = bytes_held

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`.

        Raises:
            HubError: BUSY if there is no room now, TOO_LARGE if there never is.
        """
        announced = metadata.get(b"content-length")
        if announced is not None:
            size, held = int(announced), self.bytes_held
            if held.held + size > held.limit:
                held.check(size)


class LoadShedding(Stage):
    """Refuses a call that would wait beyond its deadline; see `core/lane/load_shedding.py`."""

    def admit(self, exchange: Exchange, request: InferRequest, rows: int) -> None:
        """See `Stage`.

        Raises:
            HubError: BUSY if the call would not be answered before its deadline.
        """
        if exchange.deferred is not None:  # it has time
            return
        if exchange.lane is not None and exchange.lane.lane.queue.rows:
            exchange.lane.lane.refuse_in_vain(request.model, exchange.deadline, exchange.caller.flow)
