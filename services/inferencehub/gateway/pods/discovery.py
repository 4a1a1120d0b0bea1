"""Which addresses there are: names looked up again and again, for grpcio's own resolver never sees a new pod.

A target that is an address needs no lookup. A lookup that fails changes nothing: the last good answer is kept. An
address that is missing from two good answers in a row is gone, unless a roll call has just met it. Each name is looked up by a task of its own, one lookup
at a time, so that a slow answer holds up neither the other names nor the start of the process.
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
MET_S = 60.0  # how long an address that was met counts without a name that stands for it; longer than caches keep DNS

Resolve = Callable[[str], Awaitable[set[str]]]


async def resolve(target: str) -> set[str]:
    """The addresses, host:port each, behind a name and port, as the system's resolver knows them.

    Raises:
        OSError: where there are none.
    """
    host, _, port = target.rpartition(":")
    answer = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    return {f"{address}:{port}" for address in one_family(str(entry[4][0]) for entry in answer)}


class Discovery:
    """The addresses behind some targets.

    Args:
        targets: host:port each; a host that is a name may stand for many addresses.
        every_s: seconds between two lookups.
        found: called with all addresses whenever they changed.
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
        # For each target its addresses, each with how many good answers in a row it was missing from.
        self._known: dict[str, dict[str, int]] = {
            target: {target: 0} if is_address(target) else {} for target in targets
        }
        self._met: dict[str, float] = {}
        self._told: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Tell what needs no lookup, and look for the rest in the background."""
        self._tell()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look(t)) for t in self._known if not is_address(t)]

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def met(self, address: str) -> None:
        """A pod at `address` answered a roll call: it is there, whatever DNS says yet."""
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
    """The IPv4 addresses, or the IPv6 ones in brackets where there are no others.

    A pod with both would be found twice, and given twice the work.
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
