"""What the gateway's routing table costs with many pods and models: `python -m bench.studies.routing`.

The pods are only described to the table; nothing listens at their addresses.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.settings.gateway import GatewaySettings

PODS, MODELS = 20, 100


def described() -> dict[tuple[str, str], ModelInfo]:
    """All models as one pod reports them."""
    inputs, outputs = (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),)
    names = [f"m{number}" for number in range(MODELS)]
    return {(name, "1"): ModelInfo(name, "1", "onnx", Signature(inputs, outputs, 8), 4) for name in names}


async def timed(what: str, work: Callable[[], None]) -> None:
    """Print how many ms the event loop needs for `work` and for what follows from it."""
    began = perf_counter()
    work()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sys.stdout.write(f"{what:45} {1e3 * (perf_counter() - began):8.1f} ms\n")


async def main() -> None:
    """Measure three bursts of changes."""
    fleet = Fleet(GatewaySettings(backends=("127.0.0.1:1",)))
    table = RoutingTable(fleet, ByteBudget(10**9), Metrics(None).lane)
    addresses = [f"127.0.0.1:{port}" for port in range(1, PODS + 1)]
    pods = [
        Pod(address, 4, partial(Channel, address, 2**26), lambda: fleet.changed()) for address in addresses
    ]
    fleet.pods = dict(zip(addresses, pods, strict=True))

    def report() -> None:
        for pod in pods:
            pod.catalog.models = described()
            pod._set_replicas()
            pod.changed()

    def close() -> None:
        for name, _ in pods[0].catalog.models:
            pods[0]._set_model(name, False)

    await timed(f"{PODS} pods report {MODELS} models each", report)
    await timed(f"{MODELS} models of a pod close", close)
    await timed("an update without news", table.update)
    await asyncio.gather(*[pod.stop() for pod in pods])


if __name__ == "__main__":
    asyncio.run(main())
