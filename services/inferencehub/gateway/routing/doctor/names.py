"""Whether the names are found by which a gateway finds pods, other gateways, and what answers pod probes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.network import Reach, addresses_of, reach, why_no_address
from inferencehub.gateway.pods.discovery import is_address
from inferencehub.gateway.routing.fleet import Fleet


class Names:
    """The checks of names.

    Args:
        fleet: whose pods they lead to.
        gateways: the name that has an address for each gateway; "" if limits are not shared.
    """

    def __init__(self, fleet: Fleet, gateways: str) -> None:
        self._fleet = fleet
        self._gateways = gateways

    async def look(self) -> list[Finding]:
        """All findings."""
        settings = self._fleet.settings
        works = [self._of_pods(target) for target in settings.backends if not is_address(target)]
        works += [self._of_probes(target) for target in settings.roll_call]
        works += [self._of_gateways()] if self._gateways else []
        return list(await asyncio.gather(*works))

    async def _of_pods(self, target: str) -> Finding:
        what, host = "GRPC_SERVER_URL", target.rpartition(":")[0]
        try:
            found = await addresses_of(host)
        except (OSError, UnicodeError) as error:
            return self._not_found(what, host, error)
        return ok(what, f"'{host}' has {counted(len(found), 'address', 'addresses')}")

    def _not_found(self, what: str, host: str, error: OSError | UnicodeError) -> Finding:
        seen, fix = why_no_address(error) if isinstance(error, OSError) else ("it is no name of a host", "")
        if self._fleet.on_demand:
            fix = f"A pool that sleeps has no address, and that is no fault. {fix}"
            return warning(what, f"'{host}' has no address: {seen}", fix)
        known = len(self._fleet.pods)
        more = f"; {counted(known, 'pod is', 'pods are')} known from elsewhere" if known else ""
        return fault(what, f"'{host}' has no address: {seen}{more}", fix)

    async def _of_probes(self, target: str) -> Finding:
        what, (host, _, port) = "HUB_ROLL_CALL", target.rpartition(":")
        late = "New pods get their first request up to 30 s later, when DNS shows them."
        try:
            if not is_address(target):
                await addresses_of(host)
        except (OSError, UnicodeError) as error:
            seen, fix = (
                why_no_address(error) if isinstance(error, OSError) else ("it is no name of a host", "")
            )
            return warning(what, f"'{host}' has no address: {seen}", f"{late} {fix}")
        came = await reach(host.strip("[]"), int(port))
        if came is Reach.OPEN or not self._fleet.ready:  # without pods nothing can answer there
            return ok(what, f"{target}: {came.value}")
        fix = f"{late} Gateways must reach the ops port of pods: look at the network policies of the inference tier."
        return warning(what, f"{target}: {came.value}", fix)

    async def _of_gateways(self) -> Finding:
        try:
            found = await addresses_of(self._gateways)
        except (OSError, UnicodeError) as error:
            seen, fix = (
                why_no_address(error) if isinstance(error, OSError) else ("it is no name of a host", "")
            )
            fix = f"Until then each gateway grants the share that it knew last. {fix}"
            return fault("HUB_GATEWAYS", f"'{self._gateways}' has no address: {seen}", fix)
        return ok("HUB_GATEWAYS", f"limits are shared by {counted(len(found), 'gateway', 'gateways')}")


def counted(count: int, one: str, many: str) -> str:
    """A number and its noun."""
    return f"{count} {one if count == 1 else many}"


def some(names: Sequence[str], most: int = 5) -> str:
    """Some of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
