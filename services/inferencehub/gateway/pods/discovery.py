"""Finds the addresses of pods: looks up names again and again, because grpcio's own resolver never sees a new pod.

A target that is an address needs no lookup. A lookup that fails changes nothing: the last good answer is kept. An
address that is missing from two good answers in a row is removed, unless a pod probe has just found it. Each name has
its own task, with one lookup at a time, so a slow answer delays neither other names nor the start of the process.

A name may have addresses of both families, IPv4 and IPv6, for the same pods. Nothing tells which two belong together,
and a pod that is found twice would get twice the work. So only one family is used at a time: the one of the addresses
that pod probes find, else IPv4, and the other one in turn while no pod is reached.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from time import monotonic

logger = logging.getLogger(__name__)

MISSES = 2
FAMILY_S = 2.5  # how long one family is tried while no pod is reached: one connection may take 2 s
MET_S = 60.0  # how long an address is kept that only a pod probe found; longer than DNS answers are cached

Resolve = Callable[[str], Awaitable[set[str]]]


async def resolve(target: str) -> set[str]:
    """The addresses of a name, of both families, each as host:port or [host]:port, from the system's resolver.

    Raises:
        OSError: if the name has no address, or no server answers.
    """
    host, _, port = target.rpartition(":")
    answer = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    hosts = {str(entry[4][0]) for entry in answer}
    return {f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts}


class Discovery:
    """The addresses of all targets.

    Args:
        targets: each as host:port; a host that is a name may have many addresses.
        every_s: seconds between two lookups.
        found: called with all addresses when they have changed.
        resolve: looks up a target that is a name.
        reached: whether there is a connection to the pod at an address.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        every_s: float,
        found: Callable[[set[str]], None],
        resolve: Resolve = resolve,
        reached: Callable[[str], bool] = lambda address: True,
    ) -> None:
        self.every_s = every_s
        self.found = found
        self.resolve = resolve
        self.reached = reached
        # The addresses of each target, each with the number of good answers in a row that did not have it.
        self._known: dict[str, dict[str, int]] = {
            target: {target: 0} if is_address(target) else {} for target in targets
        }
        # For a name of both families: whether IPv6 is used, and when a pod was last reached.
        self._families: dict[str, tuple[bool, float]] = {}
        self._met: dict[str, float] = {}
        self._told: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Report targets that are addresses at once, and look up the names in the background."""
        self._tell()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look(t)) for t in self._known if not is_address(t)]

    async def stop(self) -> None:
        """Stop the lookups."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def met(self, address: str, only: bool = False) -> None:
        """A pod at `address` answered a pod probe: it exists, even if DNS does not show it yet.

        Args:
            address: host:port.
            only: whether those that were met before are not there any more.
        """
        if only:
            self._met.clear()
        self._met[address] = monotonic() + MET_S
        self._tell()

    async def _look(self, target: str) -> None:
        failed = False
        while True:
            try:
                addresses = await self.resolve(target)
            except (OSError, UnicodeError) as error:
                if not failed:
                    logger.warning("name not resolved", extra={"target": target, "error": str(error)})
                failed = True
            else:
                failed = False
                self._answered(target, addresses)
            await asyncio.sleep(self.every_s)

    def _answered(self, target: str, addresses: set[str]) -> None:
        known = self._known[target]
        addresses = self._one_family(target, addresses)
        for address in addresses:
            known[address] = 0
        for address in known.keys() - addresses:
            known[address] += 1
            if known[address] >= MISSES:
                del known[address]
        self._tell()

    def _one_family(self, target: str, addresses: set[str]) -> set[str]:
        """The addresses of the family that is used for this name now."""
        v6 = {address for address in addresses if address.startswith("[")}
        if not v6 or v6 == addresses:
            return addresses
        now = monotonic()
        before, since = self._families.get(target, (False, now))
        if any(map(self.reached, self._known[target])):
            since = now
        use_v6 = before
        if self._met:
            use_v6 = next(iter(self._met)).startswith("[")
        elif now - since > FAMILY_S:
            use_v6 = not before
        if use_v6 is not before:
            since = now
            self._known[target].clear()
        self._families[target] = (use_v6, since)
        return v6 if use_v6 else addresses - v6

    def _tell(self) -> None:
        moment = monotonic()
        self._met = {address: until for address, until in self._met.items() if until > moment}
        now = {address for known in self._known.values() for address in known} | self._met.keys()
        if now != self._told:
            came, went = sorted(now - self._told), sorted(self._told - now)
            logger.info("addresses changed", extra={"came": came, "went": went})
            self._told = now
            self.found(now)


def is_address(target: str) -> bool:
    """Whether the host of host:port is an IP address."""
    host = target.rpartition(":")[0]
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
