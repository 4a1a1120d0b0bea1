"""The stages that limit what a key, a tenant, a model or an address uses, and the one that finds the address.

What is known at the head of a request is checked there: calls of the key, the tenant or the address, and the size of the
body. Rows, calls of the model, and quotas of a day are checked once model and rows are known. A call that is refused here,
or finds no place in the lane, takes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inferencehub.core.auth.authentication import Metadata
from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import OTHER
from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.auth.peer import Peer
from inferencehub.core.auth.proxies import FORWARDED, Network, address_behind, holder_of
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.limits.lease import Awaited
from inferencehub.gateway.calls.limits.leases import Leases, Standing
from inferencehub.gateway.calls.limits.meters import Metered, Meters, fewest_bytes
from inferencehub.gateway.calls.limits.peers import Peers
from inferencehub.gateway.calls.stages import Stage

# Bytes of a body that is not read if a quota is used up; a page that is no call has a smaller one.
LARGE = 2**16


class BehindProxies(Stage):
    """Finds the address of each caller, where proxies stand in front.

    Args:
        trusted: the networks of the proxies.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets the address of `exchange.peer`."""
        exchange.peer = self.peer(exchange.peer, metadata)

    def peer(self, peer: Peer, metadata: Metadata) -> Peer:
        """The other end of a connection, with the address of the caller."""
        forwarded = metadata.get(FORWARDED)
        if not forwarded:
            return peer
        address = address_behind(peer.address, forwarded.decode("latin-1"), self._trusted)
        return peer._replace(address=address)


class CallLimits(Stage):
    """See the module's text.

    Args:
        peers: counts the gateways.
        file: the limits that are not those of one key; None where there are none.

    `leases` is what may be used of quotas of a day; None where no store counts them.
    """

    def __init__(self, peers: Peers, file: LimitsFile | None) -> None:
        self._peers = peers
        self._file = file
        self._meters = Meters()
        self.leases: Leases | None = None

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Counts the call until `exchange.end` is called, and sets `exchange.most_bytes`.

        Raises:
            LimitReached: if there are too many calls.
            HubError: TOO_LARGE if the body is too large.
        """
        caller, file = exchange.caller, self._file
        if caller.limits is None and file is None:
            return
        metered = self.of_caller(caller)
        if file is not None and file.addresses is not None and not caller.id:
            holder = holder_of(exchange.peer.address)
            meter = self._meters.of("address", holder)
            metered.append(Metered("address", f"address {holder}", file.addresses, meter))
        if metered:
            self._limit_body(exchange, metered, metadata)
            if self.leases is not None and int(metadata.get(b"content-length", b"0")) > LARGE:
                self.leases.check(metered)
            self._begin(exchange, metered)

    def of_caller(self, caller: Caller) -> list[Metered]:
        """The limits of a caller's key and tenant, with what is used of them."""
        metered, file = [], self._file
        if caller.limits is not None:
            owner = (caller.tenant, caller.id if caller.listed else OTHER)
            meter = self._meters.of("key", caller.id)
            metered.append(Metered("key", caller.who, caller.limits, meter, owner))
        if file is not None and caller.id:
            limits = file.tenants.of(caller.tenant)
            if limits is not None:
                who = f"tenant '{caller.tenant}'" if caller.tenant else caller.who
                owner = (caller.tenant, "" if caller.tenant else caller.id if caller.listed else OTHER)
                metered.append(Metered("tenant", who, limits, self._meters.of("tenant", who), owner))
        return metered

    def admit(self, exchange: Exchange, request: InferRequest, rows: int) -> None:
        """See `Stage`. Takes the rows, and counts the call of the model.

        Raises:
            LimitReached: if there are too many rows, or calls of the model.
            HubError: as `Leases.take`, and `Awaited`; then nothing is taken.
        """
        file, gateways = self._file, self._peers.count
        of_model = None if file is None else file.models.of(exchange.model)
        if of_model is None and not exchange.metered:
            return
        added = []
        if of_model is not None:
            meter = self._meters.of("model", exchange.model)
            added.append(Metered("model", f"model '{exchange.model}'", of_model, meter))
        for one in (*exchange.metered, *added):
            one.check_rows(gateways)
        if (leases := self.leases) is not None:
            for one in exchange.metered:
                if one.limits.daily:
                    exchange.granted = leases.take(exchange.metered, 1, rows)
                    break
        self._begin(exchange, added)
        exchange.metered_rows = rows
        for one in exchange.metered:
            one.take_rows(rows)

    def check_rows(self, exchange: Exchange) -> None:
        """Check whether a call with the rows of a whole batch may begin; nothing is taken.

        Raises:
            LimitReached: if the caller has had too many rows.
        """
        for one in exchange.metered:
            one.check_rows(self._peers.count)

    def take_rows(self, exchange: Exchange, rows: Mapping[str, int]) -> None:
        """Take the rows of a batch as those of one call, and count it as one call of each model.

        Args:
            exchange: the call that brought it.
            rows: by model.

        Raises:
            LimitReached: if there are too many rows, or calls of a model; then nothing is taken.
        """
        file, gateways = self._file, self._peers.count
        taken = [(one, sum(rows.values())) for one in exchange.metered]
        added = []
        for model, count in rows.items():
            if file is not None and (limits := file.models.of(model)) is not None:
                one = Metered("model", f"model '{model}'", limits, self._meters.of("model", model))
                added.append(one)
                taken.append((one, count))
        for one, _ in taken:
            one.check_rows(gateways)
        self._begin(exchange, added)
        for one, count in taken:
            one.take_rows(count)

    def check_quotas(self, exchange: Exchange, items: int, rows: int) -> None:
        """Check, as far as is known here, that quotas of a day have so much for a batch; nothing is taken.

        Raises:
            HubError: as `Leases.check`.
        """
        if self.leases is not None:
            self.leases.check(exchange.metered, items, rows)

    async def take_quotas(self, exchange: Exchange, items: int, rows: int) -> None:
        """Take the items and rows of a batch from quotas of a day, once these are known: each item is a call.

        Raises:
            HubError: as `Leases.take`.
        """
        while self.leases is not None:
            try:
                exchange.granted = self.leases.take(exchange.metered, items, rows)
                return
            except Awaited as awaited:
                await awaited.then(exchange.deadline, None)

    async def quotas_of(self, caller: Caller) -> list[Standing]:
        """How the quotas of a caller's key and tenant stand today."""
        return [] if self.leases is None else await self.leases.seen(self.of_caller(caller))

    def _begin(self, exchange: Exchange, metered: Sequence[Metered]) -> None:
        for one in metered:
            one.check_call(self._peers.count)
        for one in metered:
            one.begin()
        exchange.metered = (*exchange.metered, *metered)

    def _limit_body(self, exchange: Exchange, metered: Sequence[Metered], metadata: Metadata) -> None:
        fewest = fewest_bytes(metered)
        if fewest is None:
            return
        most, who = fewest
        size = int(metadata.get(b"content-length", b"0"))
        if size > most:
            raise HubError(Kind.TOO_LARGE, f"{who} may send {most} bytes in a request, this one has {size}")
        exchange.most_bytes = most
