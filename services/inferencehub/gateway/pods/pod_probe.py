"""Pod probes: requests through a load balancer that find a pod before DNS shows it.

A cluster's DNS may answer from its cache for 30 s, even if the cached answer is "no pods". A gateway without rights on
the Kubernetes API has no other list. But kube-proxy, which balances a Service with a cluster IP, knows a new pod within
a second. Each connection to the Service reaches one random pod, and the pod answers with its own address. With n pods a
new one is found after n connections on average: at five probes a second, this takes a second or two.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from inferencehub.core.tls.ops_certificate import OpsCertificate

EVERY_S = 0.2
PROBE_S = 1.0
MOST_BYTES = 4096
ASK = b"GET /address HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n"


class PodProbe:
    """Sends probes again and again, and reports the pods that answer.

    Args:
        targets: host:port of ops ports behind a load balancer.
        met: called for each answer, with the pod's host:port for gRPC.
        certificate: for ops ports that speak TLS; None for plain ones.
    """

    def __init__(
        self, targets: tuple[str, ...], met: Callable[[str], None], certificate: OpsCertificate | None
    ) -> None:
        self.targets = targets
        self.met = met
        self.certificate = certificate
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Send probes in the background."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._ask(target)) for target in self.targets]

    async def stop(self) -> None:
        """Stop the probes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, target: str) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_S):
                    tls = None if self.certificate is None else self.certificate.asking
                    self.met(await who_answers(target, tls))
            except (OSError, TimeoutError, ValueError):
                pass  # there is no pod yet, or the pod just went away
            await asyncio.sleep(EVERY_S)


async def who_answers(target: str, tls: ssl.SSLContext | None) -> str:
    """The host:port for gRPC of the pod that answers on a new connection to `target`, through TLS if `tls` is given.

    Raises:
        OSError: if no pod answers.
        ValueError: if the answer has no address.
    """
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)
    try:
        writer.write(ASK)
        answer = b""
        while len(answer) < MOST_BYTES and (piece := await reader.read(MOST_BYTES)):
            answer += piece
        return pod_address(answer)
    finally:
        writer.close()


def pod_address(answer: bytes) -> str:
    """The address, host:port, in a pod's HTTP answer.

    Raises:
        ValueError: if there is no address.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    address = body.decode("ascii").strip()
    if b" 200 " not in head[:20] or not address.rpartition(":")[2].isdigit():
        raise ValueError(f"no address in {answer[:80]!r}")
    return address
