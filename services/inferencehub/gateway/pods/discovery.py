"""Finds the addresses of pods: looks up names again and again, because grpcio's own resolver never sees a new pod.

A target that is an address needs no lookup. A lookup that fails changes nothing: the last good answer is kept. An
address that is missing from two good answers in a row is removed, unless a pod probe has just found it. Each name has
its own task, with one lookup at a time, so a slow answer delays neither other names nor the start of the process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

logger = logging.getLogger(__name__)

MISSES = 2
MET_S = 60.0  # how long an address is kept that only a pod probe found; longer than DNS answers are cached

Resolve = Callable[[str], Awaitable[set[str]]]


async def resolve(target: str) -> set[str]:
    """The addresses of a name, each as host:port, from the system's resolver.

    Raises:
        OSError: if the name has no address, or no server answers.
    """
    host, _, port = target.rpartition(":")
    answer = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    return {f"{address}:{port}" for address in one_family(str(entry[4][0]) for entry in answer)}


class Discovery:
    """The addresses of all targets.

    Args:
        targets: each as host:port; a host that is a name may have many addresses.
        every_s: seconds between two lookups.
        found: called with all addresses when they have changed.
        resolve: looks up a target that is a name.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        every_s: float,
        found: Callable[[set[str]], None],
        resolve: Resolve = resolve,
    ) -> None:
        self.every_s = every_s
        self.found = found
        self.resolve = resolve
        # The addresses of each target, each with the number of good answers in a row that did not have it.
        self._known: dict[str, dict[str, int]] = {
            target: {target: 0} if is_address(target) else {} for target in targets
        }
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

    def met(self, address: str) -> None:
        """A pod at `address` answered a pod probe: it exists, even if DNS does not show it yet."""
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
        for address in addresses:
            known[address] = 0
        for address in known.keys() - addresses:
            known[address] += 1
            if known[address] >= MISSES:
                del known[address]
        self._tell()

    def _tell(self) -> None:
        moment = monotonic()
        self._met = {address: until for address, until in self._met.items() if until > moment}
        now = {address for known in self._known.values() for address in known} | self._met.keys()
        if now != self._told:
            came, went = sorted(now - self._told), sorted(self._told - now)
            logger.info("addresses changed", extra={"came": came, "went": went})
            self._told = now
            self.found(now)


def one_family(addresses: Iterable[str]) -> set[str]:
    """The IPv4 addresses; if there are none, the IPv6 addresses in brackets.

    A pod with addresses of both families would count twice and get twice the work.
    """
    v6, v4 = set(), set()
    for address in addresses:
        if ":" in address:
            v6.add(f"[{address}]")
        else:
            v4.add(address)
    return v4 or v6


def is_address(target: str) -> bool:
    """Whether the host of host:port is an IP address."""
    host = target.rpartition(":")[0]
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
