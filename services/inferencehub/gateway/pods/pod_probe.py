"""Pod probes: requests through a load balancer that find a pod before DNS shows it.

A cluster's DNS may answer from its cache for 30 s, even if the cached answer is "no pods". A gateway without rights on
the Kubernetes API has no other list. But kube-proxy, which balances a Service with a cluster IP, knows a new pod within
a second. Each connection to the Service reaches one random pod, and the pod answers with its own address. With n pods a
new one is found after n connections on average: at five probes a second, this takes a second or two.

An answer with the header `x-only-pod` says that there is no other pod behind the target: this one takes the place of the
one before. Once it has, probes tell its address in the header `x-calls-go-to`. `inferencehub run --reload` answers so.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from inferencehub.core.tls.ops_certificate import OpsCertificate

EVERY_S = 0.2
PROBE_S = 1.0
ONLY_S = 10.0  # how long the only pod may take until it gets all calls; then its target is asked again
MOST_BYTES = 4096
ASK = "GET /address HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n"
ONLY, CALLS_GO_TO = b"x-only-pod", "x-calls-go-to"


class Met(NamedTuple):
    """The pod that answered a probe: its host:port for gRPC, and whether it is the only one behind the target."""

    address: str
    only: bool


class PodProbe:
    """Sends probes again and again, and reports the pods that answer.

    Args:
        targets: host:port of ops ports behind a load balancer.
        met: called for each answer, with the pod's host:port for gRPC.
        only: called instead if it is the only pod behind its target; returns when this pod gets all calls.
        certificate: for ops ports that speak TLS; None for plain ones.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        met: Callable[[str], None],
        only: Callable[[str], Awaitable[None]],
        certificate: OpsCertificate | None,
    ) -> None:
        self.targets = targets
        self.met = met
        self.only = only
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
        gets_calls = ""  # the only pod, once it gets all calls
        while True:
            try:
                async with asyncio.timeout(PROBE_S):
                    tls = None if self.certificate is None else self.certificate.asking
                    pod = await who_answers(target, tls, gets_calls)
                if not pod.only:
                    self.met(pod.address)
                else:
                    async with asyncio.timeout(ONLY_S):
                        await self.only(pod.address)
                    if gets_calls != pod.address:
                        gets_calls = pod.address
                        continue  # to tell it at once
            except (OSError, TimeoutError, ValueError):
                pass  # there is no pod yet, or the pod just went away
            await asyncio.sleep(EVERY_S)


async def who_answers(target: str, tls: ssl.SSLContext | None, gets_calls: str = "") -> Met:
    """The pod that answers on a new connection to `target`.

    Args:
        target: host:port of an ops port, or of a load balancer before some.
        tls: for ops ports that speak TLS; None for plain ones.
        gets_calls: the address of the only pod behind the target, once it gets all calls.

    Raises:
        OSError: if no pod answers.
        ValueError: if the answer has no address.
    """
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)
    try:
        told = f"{CALLS_GO_TO}: {gets_calls}\r\n" if gets_calls else ""
        writer.write(f"{ASK}{told}\r\n".encode())
        answer = b""
        while len(answer) < MOST_BYTES and (piece := await reader.read(MOST_BYTES)):
            answer += piece
        return met_pod(answer)
    finally:
        writer.close()


def met_pod(answer: bytes) -> Met:
    """The pod that an HTTP answer is from.

    Raises:
        ValueError: if there is no address.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    address = body.decode("ascii").strip()
    if b" 200 " not in head[:20] or not address.rpartition(":")[2].isdigit():
        raise ValueError(f"no address in {answer[:80]!r}")
    return Met(address, ONLY in head.lower())
