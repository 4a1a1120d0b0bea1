"""Gateways and pods laid out over two cores, each shape with ops ports that say how large its batches are."""

from __future__ import annotations

import asyncio
import re
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.paths import MODELS, ROOT
from bench.servers.processes import LOAD, SERVERS, Group, free_port
from bench.servers.stack import Stack, tiers

COMPUTING = ROOT / "bench" / "computing_models"
BOTH = (SERVERS, LOAD)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # asks no proxy of the environment
FIND_S = 2.0  # until every gateway has found every pod


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each, and of each model in a pod; `apart` keeps pair by pair on a core of its own."""

    name: str
    cores: tuple[int, ...]
    pairs: int = 1
    instances: int = 1
    apart: bool = True

    @property
    def load(self) -> Sequence[int]:
        """The cores of those who ask."""
        return BOTH if len(self.cores) > 1 else (LOAD,)

    def core_of(self, index: int) -> tuple[int, ...]:
        """The cores of a pair's gateway and pod."""
        return (self.cores[index],) if self.apart else self.cores


ONE = Shape("1 pair on 1 core", (SERVERS,))
TWO = Shape("2 pairs on 2 cores", BOTH, pairs=2)
WIDE = Shape("1 pair of 2 instances on 2 cores", BOTH, instances=2, apart=False)


@dataclass(frozen=True, slots=True)
class Running:
    """A shape that runs: its processes, and the ports of the gateways, of their ops and of the pods' ops."""

    shape: Shape
    group: Group
    ports: Sequence[int]
    gateway_ops: Sequence[int]
    pod_ops: Sequence[int]

    def batches(self, model: str) -> dict[str, tuple[float, float]]:
        """Rows and calls from gateways to pods so far, rows and runs in pods."""
        return {"gateway": counted(self.gateway_ops, model), "inference": counted(self.pod_ops, model)}


def counted(ports: Sequence[int], model: str) -> tuple[float, float]:
    """Sum and count of the histogram of rows, over the processes behind some ops ports."""
    totals = {"sum": 0.0, "count": 0.0}
    for port in ports:
        with DIRECT.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for kind, value in re.findall(rf'_batch_rows_(sum|count){{model="{model}"[^}}]*}} (\S+)', text):
            totals[kind] += float(value)
    return totals["sum"], totals["count"]


def repository(place: Path, instances: int) -> Path:
    """`three` and the models that compute, with so many instances of each."""
    for model in (MODELS / "three", *COMPUTING.iterdir()):
        shutil.copytree(model, place / model.name)
        config = place / model.name / "config.pbtxt"
        config.write_text(config.read_text().replace("count: 1", f"count: {instances}"))
    return place


@contextmanager
def started(shape: Shape, place: Path, models: Sequence[str]) -> Iterator[Running]:
    """The shape's processes, once every gateway reaches every pod.

    Raises:
        SystemExit: where a model does not become ready.
    """
    ports, pods = ([free_port() for _ in range(shape.pairs)] for _ in range(2))
    commands = tiers(repository(place / "models", shape.instances), tuple(ports), tuple(pods))
    kept = [replace(one, cores=shape.core_of(index % shape.pairs)) for index, one in enumerate(commands)]
    ops = [int(one.environ["HUB_OPS_PORT"]) for one in kept]
    group = Group(kept, ROOT, place / "log", pin=False)
    try:
        stack = Stack("127.0.0.1", tuple(ports), children=tuple(group.children))
        asyncio.run(ready(stack, models))
        yield Running(shape, group, ports, ops[: shape.pairs], ops[shape.pairs :])
    finally:
        group.stop()


async def ready(stack: Stack, models: Sequence[str]) -> None:
    """Wait for all models at all gateways."""
    for model in models:
        await stack.until_ready(model)
    await asyncio.sleep(FIND_S)
