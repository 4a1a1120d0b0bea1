"""Stages: rules that every call passes before it runs, in the order of a list, equal on all fronts.

A stage has two moments. `check` comes where the head of a request is complete, before its body is read: who calls, and
how often. `admit` comes once the model and the rows are known, before the lane: which model, and how much.
"""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.requests import InferRequest
from inferencehub.gateway.calls.exchange import Exchange

# Names in lower case and their values: the headers of HTTP, or the metadata of gRPC.
Metadata = Mapping[bytes, bytes]


class Stage:
    """A rule; one that has nothing to say at one of the moments leaves that method alone."""

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """Look at a request whose body is still to be read.

        Raises:
            HubError: where it is refused.
        """

    def admit(self, exchange: Exchange, request: InferRequest) -> None:
        """Look at a request that fits its model; `exchange.lane` is where it would go.

        Raises:
            HubError: where it is refused.
        """


class Memory(Stage):
    """Refuses a body for which the process has no room, before it is read.

    Args:
        bytes_held: the process's budget.
    """

    def __init__(self, bytes_held: ByteBudget) -> None:
        self.bytes_held = bytes_held

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """BUSY, or TOO_LARGE for a body that there never is room for."""
        announced = metadata.get(b"content-length")
        if announced is not None:
            size, held = int(announced), self.bytes_held
            if held.held + size > held.limit:
                held.check(size)


class LoadShedding(Stage):
    """Refuses a call that would wait beyond its deadline; see `core/lane/load_shedding.py`."""

    def admit(self, exchange: Exchange, request: InferRequest) -> None:
        """BUSY for a call that would be in vain."""
        if exchange.lane is not None and exchange.lane.lane.queue.rows:
            exchange.lane.lane.refuse_in_vain(request.model, exchange.deadline)
