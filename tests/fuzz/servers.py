"""Both tiers as processes that serve models which never fail, and what must hold of them however they are called.

Their logs are read, and their memory is watched: over the whole run it must not grow.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import onnx_files as onnx
from tests.hub import MODELS, Process, mock_model, write_model
from tests.long_runs import WHOLE

MIB = 2**20
GROWTH = 5 * MIB  # of a process, from the first half of a run to the second
PARTS = 10  # of a run; memory is looked at behind each
WARM_UP = PARTS // 2 if WHOLE else 0  # parts before the run: a process takes what it needs, and keeps it
ANY = {"FP32": onnx.FLOAT, "INT64": onnx.INT64, "BYTES": onnx.STRING}
ROWS = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
SEVERAL = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        for _ in range(max(0, min(5, int(inputs["count"].ravel()[:1].sum())))):
            yield {"y": inputs["count"]}
"""


def write_models(repository: Path) -> None:
    """Models of all kinds; all but `quick`, `digits` and `sentiment` give back what they get."""
    mock_model(repository, slots=16)
    for name in ("digits", "sentiment"):
        shutil.copytree(MODELS / name, repository / name)
    for dtype, number in ANY.items():
        kind = onnx.tensor_type(number, None)
        content = onnx.one_node("Identity", {"x": kind}, kind)
        write_model(repository, f"any_{dtype}", "instance_group { count: 16 }", {"1/model.onnx": content})
    rows = """backend: "python" max_batch_size: 32 input { name: "x" data_type: TYPE_FP32 dims: [-1, -1, -1] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1, -1, -1] }"""
    write_model(repository, "rows", rows, {"1/model.py": ROWS})
    several = """backend: "python" model_transaction_policy { decoupled: true }
        input { name: "count" data_type: TYPE_INT32 dims: [-1] } output { name: "y" data_type: TYPE_INT32 dims: [-1] }"""
    write_model(repository, "several", several, {"1/model.py": SEVERAL})


@dataclass
class Server:
    """A tier's process, and its log."""

    process: Process
    log: Path
    read: int = 0  # bytes of the log that were looked at

    def resident(self) -> int:
        """Bytes of the process that are in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def complaints(self) -> list[str]:
        """New lines of the log with a traceback or an error."""
        new = self.log.read_bytes()[self.read :]
        self.read += len(new)
        return [line for line in new.decode(errors="replace").splitlines() if is_error(line)]


def is_error(line: str) -> bool:
    """Whether a line is an error of ours, or no line of ours at all."""
    try:
        return "traceback" in (fields := json.loads(line)) or fields["level"] == "error"
    except (ValueError, KeyError, TypeError):
        return True


@dataclass
class Servers:
    """A pod, and a gateway that knows it."""

    pod: Server
    gateway: Server

    def check_logs(self) -> None:
        """Fail if either has logged an error since the last time."""
        found = [line for server in (self.pod, self.gateway) for line in server.complaints()]
        assert not found, (len(found), *found[:5])


class Level:
    """Watches the memory of both processes over a run.

    Args:
        servers: the processes.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.seen: list[tuple[int, ...]] = []

    def look(self) -> None:
        """Note how much there is now."""
        self.seen.append((self.servers.pod.resident(), self.servers.gateway.resident()))

    def check(self) -> None:
        """Compare the least memory of both halves: some waits for the collector. A short run is all warm-up."""
        for place, name in enumerate(("pod", "gateway")):
            seen = [each[place] for each in self.seen]
            print(f"MiB of the {name}:", *[round(size / MIB, 1) for size in seen])
            growth = min(seen[-PARTS // 2 :]) - min(seen[-PARTS : -PARTS // 2])
            assert growth < GROWTH or not WHOLE, f"the {name} has grown by {growth} bytes"


@asynccontextmanager
async def running_servers(place: Path) -> AsyncIterator[Servers]:
    """Both tiers. In the end they must live, and have logged no error.

    Args:
        place: a folder for models and logs.
    """
    write_models(place / "models")
    logs = [place / "pod.log", place / "gateway.log"]
    with logs[0].open("wb") as pod_log, logs[1].open("wb") as gateway_log:
        pod = Process("inference", HUB_MODELS=str(place / "models"), HUB_LOG_FORMAT="json")
        pod.log = pod_log
        async with pod:
            gateway = Process(
                "gateway",
                GRPC_SERVER_URL=pod.address,
                HUB_DEFAULT_MODEL="quick",
                HUB_LOG_FORMAT="json",
                HUB_JOBS=f"sqlite:{place / 'jobs.db'}",
            )
            gateway.log = gateway_log
            async with gateway:
                servers = Servers(Server(pod, logs[0]), Server(gateway, logs[1]))
                yield servers
                for server in (servers.pod, servers.gateway):
                    server.resident()  # fails if it has died
                servers.check_logs()
