"""All tiers as real processes, and a load on them that has something for every panel."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from time import monotonic
from typing import Any

import aiohttp
import grpc

from inferencehub.core.auth.key_file import new_key
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.scaler.server import Scaler
from inferencehub.scaler.settings import ScalerSettings
from tests.authority import Authority
from tests.dashboards.prometheus import Target
from tests.hub import MODELS, Process, mock_model, write_model
from tests.scaler.kubernetes import kubernetes
from tests.several_answers import counting_model

FAILS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        raise RuntimeError("broken")
"""
CONFIG = """backend: "python"
input { name: "features" data_type: TYPE_FP32 dims: [-1] }
output { name: "scores" data_type: TYPE_FP32 dims: [3] }"""
# Version 1 answers, version 2 fails, and version 3 answers something else, and more slowly.
BY_VERSION = """
import time

class Model:
    def __init__(self, directory, parameters):
        self.version = int(directory.name)

    def predict(self, inputs):
        if self.version == 2:
            raise RuntimeError("broken")
        if self.version == 3:
            time.sleep(0.05)
        return {"scores": [float(self.version == number) for number in (1, 2, 3)]}
"""
TRAFFIC = {
    "weights": {"1": 50, "canary": 50},
    "aliases": {"canary": "2"},
    "rollback": {"version": "canary", "error_share": 0.05, "calls": 10, "window_s": 600},
    "shadow": {"version": "3", "share": 1},
}
KEYS = {name: new_key(name) for name in ("search", "shop")}
SLOW, QUICK, BROKEN, SPLIT, EDITED = "v1-mock", "nearest-colour", "fails", "split", "edited"


@dataclass
class Stack:
    """The tiers, and what the load has seen."""

    gateway: Process
    targets: list[Target]
    client: aiohttp.ClientSession
    models: Path  # what the pods serve, and follow
    authority: Path  # signed the gateway's certificate
    statuses: Counter[str] = field(default_factory=Counter)  # of all fronts, with attempts of jobs
    by_model: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of answers with 200, by model
    calls: Counter[str] = field(default_factory=Counter)  # by tenant
    versions: Counter[str] = field(default_factory=Counter)  # answers with 200 of `SPLIT`

    async def post(self, path: str, body: Mapping[str, Any], key: str = "search", **headers: str) -> Any:
        """A call, counted by its status."""
        began = monotonic()
        headers = {"authorization": f"Bearer {KEYS[key]}", **headers}
        url = f"https://{self.gateway.address}{path}"
        async with self.client.post(url, json=body, headers=headers, ssl=False) as answer:
            found = await answer.read()
        status, model = str(answer.status), str(body.get("model_name", ""))
        self.statuses[status] += 1
        self.by_model[model, status] += 1
        self.calls[key] += 1
        if status == "200" and model == SPLIT:
            self.versions[answer.headers["x-model-version"]] += 1
        if status == "200":
            self.seconds.setdefault(model, []).append(monotonic() - began)
        return found

    async def predict(self, model: str, count: int, side_by_side: int, **options: str) -> None:
        """Calls of a model, so many at a time."""
        body = {"model_name": model, "features": [1.0, 2.0, 3.0]}
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self.post("/predict", body, **options)

        await asyncio.gather(*[work() for _ in range(side_by_side)])

    async def settled(self) -> None:
        """Wait until the gateway knows both pods and all models; then call it once as each tenant, stream once, and copy a call.

        What a tenant has used, the times of streams and what a copy has shown are in no series before, and a rate does not
        know a first value.
        """
        gateway = self.targets[0]
        await self.shows(gateway, 'backends{state="up"} 2.0', f'queue_length{{model="{BROKEN}"}}')
        for key in KEYS:
            await self.predict(QUICK, 1, 1, key=key)
        await self.streams(1)
        tensor = {"name": "features", "datatype": "FP32", "shape": [1], "data": [1.0]}
        await self.post(f"/v2/models/{SPLIT}/versions/1/infer", {"inputs": [tensor]})
        await self.shows(gateway, f'shadow_agreement{{model="{SPLIT}",version="3"}} 0.0')
        for counted in (self.statuses, self.by_model, self.seconds, self.calls, self.versions):
            counted.clear()

    async def shows(self, target: Target, *parts: str) -> None:
        """Wait until the metrics of a process have these parts of lines, which may have patterns of `fnmatch`."""
        async with asyncio.timeout(60):
            while True:
                async with self.client.get(f"http://127.0.0.1:{target.port}/metrics") as answer:
                    text = await answer.text()
                if all(fnmatchcase(text, f"*{part}*") for part in parts):
                    return
                await asyncio.sleep(0.1)

    async def load(self) -> None:
        """Answers, errors of all kinds, refusals, batches, streams, gRPC, jobs and versions that succeed and fail."""
        (self.models / EDITED / "config.pbtxt").write_text("no configuration")
        await self.predict(QUICK, 640, 64)
        await asyncio.gather(
            self.predict(SLOW, 120, 8),
            self.predict("none", 6, 1),
            self.predict("sentiment", 6, 1),  # it wants a text
            self.predict(BROKEN, 20, 2),
            self.predict(SLOW, 10, 2, **{"x-request-timeout-ms": "50"}),
            self.predict(QUICK, 30, 1, key="shop"),  # one call a second
            self.over_grpc(20),
        )
        await self.predict(SPLIT, 80, 2)
        await self.streams(4)
        await self.jobs(10, 3)
        for target in self.targets[1:3]:
            await self.shows(target, f'model_loads_total{{model="{EDITED}",result="failed"}} [1-9]')

    async def streams(self, count: int) -> None:
        """Calls with five answers each."""
        for _ in range(count):
            await self.post("/v2/models/counter/generate_stream", {"count": 5, "model_name": "counter"})

    async def over_grpc(self, count: int) -> None:
        """Calls of Predict."""
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes())
        address = f"localhost:{self.gateway.grpc_port}"
        async with grpc.aio.secure_channel(address, credentials) as channel:
            ask: Any = channel.unary_unary(
                "/inference.ModelInference/Predict",
                request_serializer=predict_pb.PredictRequest.SerializeToString,
            )
            metadata = (("authorization", f"Bearer {KEYS['search']}"),)
            for _ in range(count):
                await ask(
                    predict_pb.PredictRequest(features=[1.0, 2.0, 3.0], model_name=QUICK), metadata=metadata
                )
                self.statuses["200"] += 1
                self.by_model[QUICK, "200"] += 1
                self.calls["search"] += 1

    async def jobs(self, good: int, bad: int) -> None:
        """Jobs, until all have ended; calls that make and watch them are counted too."""
        for model, count in ((QUICK, good), (BROKEN, bad)):
            for _ in range(count):
                body = {"model_name": model, "features": [1.0, 2.0, 3.0]}
                made = json.loads(await self.post("/predict", body, prefer="respond-async"))
                path = f"https://{self.gateway.address}/v2/jobs/{made['id']}/result?wait=30"
                headers = {"authorization": f"Bearer {KEYS['search']}"}
                async with self.client.get(path, headers=headers, ssl=False) as answer:
                    await answer.read()
                    self.statuses[str(answer.status)] += 1
                attempt = "200" if model == QUICK else "500"
                self.statuses[attempt] += 1
                self.by_model[model, attempt] += 1


def write_models(folder: Path) -> None:
    """The samples, a model that fails, one that streams, one of several versions, and one whose files will change."""
    copytree(MODELS, folder)
    write_model(folder, BROKEN, CONFIG, {"1/model.py": FAILS})
    counting_model(folder)
    files = {f"{version}/model.py": BY_VERSION for version in (1, 2, 3)}
    write_model(folder, SPLIT, f"{CONFIG} version_policy {{ all {{ }} }}", files)
    mock_model(folder, EDITED)


@asynccontextmanager
async def running_stack(folder: Path) -> AsyncIterator[Stack]:
    """Two pods that follow their models, a gateway with TLS, keys, jobs and traffic, and a scaler that asks it."""
    write_models(folder / "models")
    entries: list[dict[str, Any]] = [
        {"id": name, "tenant": name, "sha256": sha256(key.encode()).hexdigest()} for name, key in KEYS.items()
    ]
    entries[0] |= {"calls_per_day": 10_000}
    entries[1] |= {"rate": 1, "burst": 1}
    (folder / "keys.json").write_text(json.dumps({"keys": entries}))
    (folder / "traffic.json").write_text(json.dumps({"models": {SPLIT: TRAFFIC}}))
    models = {
        "HUB_MODELS": str(folder / "models"),
        "HUB_MODEL_CONTROL": "poll",
        "HUB_REPOSITORY_POLL_S": "1",
    }
    authority = Authority(folder, "authority")
    chain, key = authority.signed("localhost")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pods = [await enter(Process("inference", **models)) for _ in range(2)]
        gateway = await enter(
            Process(
                "gateway",
                GRPC_SERVER_URL=",".join(pod.address for pod in pods),
                HUB_API_KEYS=str(folder / "keys.json"),
                HUB_JOBS=f"sqlite:{folder / 'jobs.db'}",
                HUB_TRAFFIC=str(folder / "traffic.json"),
                HUB_TLS_CERT=str(chain),
                HUB_TLS_KEY=str(key),
            )
        )
        scaler = await enter(running_scaler(folder, gateway))
        client = await enter(aiohttp.ClientSession())
        targets = [
            Target("gateway", "gateway-1", gateway.ops_port),
            *[Target("inference", f"pod-{place}", pod.ops_port, "default") for place, pod in enumerate(pods)],
            Target("scaler", "scaler-1", scaler.ops.port),
        ]
        found = Stack(gateway, targets, client, folder / "models", authority.certificate)
        await found.settled()
        yield found


@asynccontextmanager
async def running_scaler(folder: Path, gateway: Process) -> AsyncIterator[Scaler]:
    """A scaler that a cluster tells of this gateway."""
    credentials = folder / "credentials"
    credentials.mkdir()
    async with kubernetes(credentials) as (server, _):
        server.write(
            "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices/hub-1",
            {
                "metadata": {"labels": {"app.kubernetes.io/instance": "hub", "inferencehub/demand": "true"}},
                "ports": [{"name": "ops", "port": gateway.ops_port}],
                "endpoints": [{"addresses": ["127.0.0.1"]}],
            },
        )
        scaler = Scaler(
            ScalerSettings(
                ops_port=0,
                release="hub",
                namespace="ml",
                metrics_api=False,
                kubernetes_url=server.url,
                credentials=str(credentials),
            )
        )
        await scaler.start()
        try:
            yield scaler
        finally:
            await scaler.stop()
