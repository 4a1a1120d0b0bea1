"""Who is there, asked through a load balancer: finds a pod that DNS does not show yet.

A cluster's DNS may answer out of its cache for 30 s, also that there is nobody, and a gateway that has no rights on
the Kubernetes API has no other list. But a Service with an address of its own is balanced by kube-proxy, which knows a
new pod within a second: each connection to it meets one pod by chance, and that pod says its own address. With n pods
a new one is met after n connections on average, so that at five a second it is found in a second or two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.2
PROBE_S = 1.0
MOST_BYTES = 4096
ASK = b"GET /address HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n"


class PodProbe:
    """Asks again and again.

    Args:
        targets: host:port of ops ports behind a load balancer.
        met: called with the host:port for gRPC of each pod that answered.
    """

    def __init__(self, targets: tuple[str, ...], met: Callable[[str], None]) -> None:
        self.targets = targets
        self.met = met
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Ask in the background."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._ask(target)) for target in self.targets]

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, target: str) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_S):
                    self.met(await who_answers(target))
            except (OSError, TimeoutError, ValueError):
                pass  # nobody is there yet, or the pod just went
            await asyncio.sleep(EVERY_S)


async def who_answers(target: str) -> str:
    """The address, host:port for gRPC, of the pod that answers on a new connection to `target`.

    Raises:
        OSError: where nobody answers.
        ValueError: where the answer is no address.
    """
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(ASK)
        answer = b""
        while len(answer) < MOST_BYTES and (piece := await reader.read(MOST_BYTES)):
            answer += piece
        return pod_address(answer)
    finally:
        writer.close()


def pod_address(answer: bytes) -> str:
    """The address in a pod's HTTP answer.

    Raises:
        ValueError: where there is none.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    address = body.decode("ascii").strip()
    if b" 200 " not in head[:20] or not address.rpartition(":")[2].isdigit():
        raise ValueError(f"no address in {answer[:80]!r}")
    return address
