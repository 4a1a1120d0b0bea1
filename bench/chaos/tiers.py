"""Two gateways, two pods and a store of jobs, each a process that can be killed, frozen, and started again in its place."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from time import monotonic

from bench.load.connection import ask
from bench.paths import ROOT
from bench.servers.proc import signal_all
from bench.servers.processes import Command, Group, free_port
from bench.servers.stack import tier
from tests.valkey import Valkey

CONFIG = """backend: "python" instance_group { count: COUNT }
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }
    parameters { key: "log" value { string_value: "LOG" } }"""
COUNTS = """
import time


class Model:
    def __init__(self, directory, parameters):
        self.log = parameters["log"]

    def predict(self, inputs):
        with open(self.log, "a") as log:
            log.write(f"{int(inputs['x'].ravel()[0])}\\n")
        time.sleep(0.008)
        return {"y": 2 * inputs["x"] + 1}
"""
KILLS = """
import os
import signal
import time


class Model:
    def __init__(self, directory, parameters):
        self.log = parameters["log"]

    def predict(self, inputs):
        time.sleep(1.0)
        with open(self.log, "a") as log:
            log.write(f"{os.getppid()}\\n")
        os.kill(os.getppid(), signal.SIGKILL)
"""
START_S = 60.0
GRACE_S = 15.0


class Server:
    """One process of a tier, which begins again with the same command."""

    def __init__(self, command: Command, log: Path, port: int) -> None:
        self._command = command
        self._log = log
        self._starts = 0
        self.port = port
        self.group: Group | None = None

    def start(self) -> None:
        """Start it, or the next one in its place."""
        self._starts += 1
        log = self._log.with_name(f"{self._log.name}-{self._starts}")
        self.group = Group([self._command], ROOT, log, pin=False)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.group is not None and not self.group.ended()

    async def kill(self) -> None:
        """End it, and what it has started, as the loss of a machine would."""
        assert self.group is not None
        signal_all(self.group.members(), signal.SIGKILL)
        await self.stop()

    async def terminate(self) -> None:
        """Ask it to end, and wait until it has."""
        assert self.group is not None
        self.group.children[0].terminate()
        ends = monotonic() + GRACE_S
        while monotonic() < ends:
            if not self.alive:
                break
            await asyncio.sleep(0.05)
        await self.stop()

    async def freeze(self, seconds: float) -> None:
        """Let it stand still for so long."""
        assert self.group is not None
        await asyncio.to_thread(self.group.pause)
        await asyncio.sleep(seconds)
        self.group.resume()

    async def stop(self) -> None:
        """End it, if it runs, and clear up behind it."""
        if self.group is not None:
            await asyncio.to_thread(self.group.stop)
            self.group = None

    async def ready(self, path: str) -> None:
        """Wait until a gateway answers a path with 200."""
        ends = monotonic() + START_S
        while monotonic() < ends:
            try:
                async with asyncio.timeout(2):
                    if (await ask("127.0.0.1", self.port, "GET", path))[0] == 200:
                        return
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(0.1)
        raise SystemExit(f"{path} at {self.port} is not ready")


class Tiers:
    """All of them.

    Args:
        place: a folder for all files.
        gateways, pods: how many.
        sqlite: keep jobs in a file, not in Valkey.
    """

    def __init__(self, place: Path, gateways: int, pods: int, sqlite: bool) -> None:
        self.runs, self.kills = place / "runs", place / "kills"
        for path in (self.runs, self.kills):
            path.touch()
        models = place / "models"
        for name, code, log, count in (("counts", COUNTS, self.runs, "4"), ("kills", KILLS, self.kills, "1")):
            (models / name / "1").mkdir(parents=True)
            (models / name / "config.pbtxt").write_text(
                CONFIG.replace("LOG", str(log)).replace("COUNT", count)
            )
            (models / name / "1" / "model.py").write_text(code)
        (place / "valkey").mkdir()
        self.valkey = None if sqlite else Valkey(place / "valkey")
        url = f"sqlite:{place / 'jobs.db'}" if self.valkey is None else self.valkey.url
        ports = [free_port() for _ in range(pods)]
        drain = {"HUB_DRAIN_TIMEOUT_S": "5"}
        self.pods = [
            Server(
                tier("inference", {"PORT": str(port), "HUB_MODELS": str(models), **drain}),
                place / f"pod{port}", port,
            )
            for port in ports
        ]  # fmt: skip
        fronts = [free_port() for _ in range(gateways)]
        targets = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.gateways = [
            Server(
                tier("gateway", {"PORT": str(port), "GRPC_SERVER_URL": targets, "HUB_JOBS": url, **drain}),
                place / f"gateway{port}", port,
            )
            for port in fronts
        ]  # fmt: skip

    async def start(self) -> None:
        """Start all, and wait until gateways have both models."""
        if self.valkey is not None:
            await self.valkey.start()
        for server in (*self.pods, *self.gateways):
            server.start()
        for gateway in self.gateways:
            for model in ("counts", "kills"):
                await gateway.ready(f"/v2/models/{model}/ready")

    async def pod_lost(self) -> None:
        """Wait until a pod has died."""
        ends = monotonic() + START_S
        while monotonic() < ends:
            if not all(pod.alive for pod in self.pods):
                return
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """End all."""
        for server in (*self.gateways, *self.pods):
            await server.stop()
        if self.valkey is not None:
            if self.valkey.process is not None and self.valkey.process.returncode is None:
                self.valkey.process.send_signal(signal.SIGCONT)
            await self.valkey.stop()
