"""How many gateways there are, so that each grants its share of a limit: the addresses of a name that DNS has for all."""

from __future__ import annotations

import asyncio
import logging
import socket

from prometheus_client.core import GaugeMetricFamily, Metric

logger = logging.getLogger(__name__)

LOOK_S = 5.0


class Peers:
    """Counts the gateways. It is also a collector of metrics: what it has counted.

    Args:
        host: a name with an address for each gateway, such as that of a headless Service; "" if there is only this one.

    `count` is what was found last. If nothing is found, it stays: a limit must not grow when DNS fails.
    """

    def __init__(self, host: str) -> None:
        self.count = 1
        self._host = host
        self._looking: asyncio.Task[None] | None = None

    def collect(self) -> list[Metric]:
        """The gauge of the gateways among which limits are divided."""
        text = "gateways that share the limits of callers, as this one counts them"
        return [GaugeMetricFamily("inferencehub_gateway_peers", text, value=self.count)]

    def start(self) -> None:
        """Look again and again from now on."""
        if self._host:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        loop, said = asyncio.get_running_loop(), ""
        while True:
            try:
                found = await loop.getaddrinfo(self._host, 0, type=socket.SOCK_STREAM)
                families = {
                    family: {address[4][0] for address in found if address[0] is family}
                    for family, *_ in found
                }
                self.count = max(
                    map(len, families.values())
                )  # with two families, each gateway has an address of each
                said = ""
            except (OSError, UnicodeError) as error:
                if str(error) != said:
                    said = str(error)
                    logger.warning("gateways cannot be counted", extra={"host": self._host, "reason": said})
            await asyncio.sleep(LOOK_S)
