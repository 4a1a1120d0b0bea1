"""The memory of both tiers at rest, and the time that they need to start: `python -m bench.parts.rest`.

With `models` behind it, the memory of the inference service with each sample model: alone, and for each more instance.

The inference service has only the model `digits`. A start is measured from the fork to the first 200 of the ops port's
/readyz. When the gateway starts, a pod is already there.
"""

from __future__ import annotations

import http.client
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from bench.paths import ROOT
from bench.report.results import Results, Run
from bench.servers.proc import memory_mb
from bench.servers.processes import Command, Group, can_pin, free_port
from bench.servers.stack import tier

COUNT = re.compile(r"(instance_group\s*\[?\s*\{\s*count:\s*)\d+")
MORE = 3  # instances, beside the first one
PATIENCE_S, LOOK_S, SETTLE_S = 30.0, 0.002, 2.0


@contextmanager
def started(command: Command, place: Path, pin: bool) -> Iterator[tuple[float, Group]]:
    """A tier, once it is ready, and the seconds that took.

    Raises:
        SystemExit: where it does not become ready.
    """
    began = perf_counter()
    group = Group([command], ROOT, place / command.name, pin)
    try:
        while not ready(int(command.environ["HUB_OPS_PORT"])):
            if perf_counter() - began > PATIENCE_S or group.ended():
                raise SystemExit(f"{command.name} did not become ready: {group.log.read_text()[-300:]}")
            sleep(LOOK_S)
        yield perf_counter() - began, group
    finally:
        group.stop()


def ready(port: int) -> bool:
    """Whether the ops port says so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def measure(pin: bool) -> Run:
    """One start of each, and their memory at rest."""
    with tempfile.TemporaryDirectory(prefix="hub-rest-") as folder:
        place = Path(folder)
        repository = place / "models"
        repository.mkdir()
        (repository / "digits").symlink_to(ROOT / "models" / "digits")
        port = free_port()
        pod = tier("inference", {"PORT": str(port), "HUB_MODELS": str(repository)})
        gateway = tier("gateway", {"PORT": str(free_port()), "GRPC_SERVER_URL": f"127.0.0.1:{port}"})
        with started(pod, place, pin) as (pod_s, pods), started(gateway, place, pin) as (gateway_s, gateways):
            sleep(SETTLE_S)
            figures = {
                "gateway_s": gateway_s,
                "inference_s": pod_s,
                "gateway_mb": rss(gateways),
                "inference_mb": rss(pods),
            }
    return Run("rest", "ours", figures)


def rss(group: Group) -> float:
    """Resident MB of all its processes, shared pages and all."""
    return sum(memory_mb(pid, "Rss") for pid in group.members())


def rest(results: Results, times: int, pin: bool) -> None:
    """Into `results`."""
    results.runs += [measure(pin) for _ in range(times)]


def show(runs: Sequence[Run]) -> None:
    """A line a start."""
    for run in runs:
        print(", ".join(f"{name} {value:.3f}" for name, value in run.figures.items()))


def with_model(model: Path, instances: int, pin: bool) -> float:
    """MB of a service that has one model; pages that several processes have are shared out among them."""
    with tempfile.TemporaryDirectory(prefix="hub-rest-") as folder:
        place = Path(folder)
        copy = place / "models" / model.name
        shutil.copytree(model, copy)
        config = copy / "config.pbtxt"
        text, found = COUNT.subn(rf"\g<1>{instances}", config.read_text())
        config.write_text(text if found else f"{text}\ninstance_group {{ count: {instances} }}\n")
        pod = tier("inference", {"PORT": str(free_port()), "HUB_MODELS": str(copy.parent)})
        with started(pod, place, pin) as (_, group):
            sleep(SETTLE_S)
            return sum(memory_mb(pid, "Pss") for pid in group.members())


def show_models(pin: bool) -> None:
    """A line a sample model."""
    print(f"{'model':<20}{'one instance':>14}{'each more':>12}   MB")
    for model in sorted(path.parent for path in (ROOT / "models").glob("*/config.pbtxt")):
        alone = with_model(model, 1, pin)
        more = (with_model(model, 1 + MORE, pin) - alone) / MORE
        print(f"{model.name:<20}{alone:>14.1f}{more:>12.1f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["models"]:
        show_models(can_pin())
    else:
        show([measure(can_pin()) for _ in range(5)])
