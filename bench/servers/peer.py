"""The peers that are measured: how each is started, and in which formats it is asked. Each has one worker on one core.

Our peer is the whole product as it is deployed: both tiers, with the access log. The other peers have no logs and get
the settings that make them faster (uvloop, no access log, no metrics). Nothing else is tuned, and nothing is patched.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import questions as ask
from bench.load.questions import MODELS, Ask
from bench.paths import PEERS, ROOT, TRITON
from bench.servers.processes import Command, free_port
from bench.servers.stack import fill, tiers

THEIRS = {"PYTHONPATH": str(ROOT)}
NO_TRITON = "" if TRITON else "TRITON_SERVER, a program that runs one, is not set"


@dataclass(frozen=True, slots=True)
class Site:
    """What a peer is started with: its Python, its ports, a folder of its own.

    `grpc_port` is the model server's, and `front_port` that of a gateway, where there is one.
    """

    python: str
    port: int
    grpc_port: int
    front_port: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """One server of the comparison.

    `asks` has the dialect of each form it can be asked in: `row` (a few numbers as JSON), `json` and `binary` (a
    picture). `ready` is a path that answers 200 once it serves. `packages` are those whose versions are written down.
    `absent` says why it cannot be asked. `can_stand` says whether it survives to be stopped while others are asked,
    and `has_gateway` whether its `front_port` takes gRPC.
    """

    name: str
    commands: Callable[[Site], Sequence[Command]]
    asks: Mapping[str, Ask]
    ready: str = "/ready"
    environment: str = ""
    packages: tuple[str, ...] = ()
    absent: str = ""
    can_stand: bool = True
    has_gateway: bool = False


def here(site: Site, script: str, *arguments: object) -> Command:
    """A script of bench/peers."""
    return Command([site.python, "-m", f"bench.peers.{script}", *map(str, arguments)], THEIRS, script)


def ours(site: Site) -> list[Command]:
    """One gateway in front of one pod."""
    repository = site.folder / "models"
    repository.mkdir(parents=True, exist_ok=True)
    fill(repository, {})
    return tiers(repository, (site.port,), (site.grpc_port,), fronts=(site.front_port,))


def naive(kind: str) -> Callable[[Site], list[Command]]:
    """Both tiers of the naive pair."""

    def commands(site: Site) -> list[Command]:
        return [
            here(site, "naive_backend", kind, site.grpc_port),
            here(site, "naive_gateway", kind, site.port, site.grpc_port),
        ]

    return commands


def triton(batching: bool) -> Callable[[Site], list[Command]]:
    """A repository of Python models, with Triton's dynamic batcher or without."""

    def commands(site: Site) -> list[Command]:
        repository = site.folder / "models"
        for name in MODELS:
            version = repository / name / "1"
            version.mkdir(parents=True, exist_ok=True)
            shutil.copy(PEERS / "triton_model.py", version / "model.py")
            (repository / name / "config.pbtxt").write_text(triton_config(name, batching))
        ports = [str(repository), str(site.port), str(site.grpc_port), "--metrics-port", str(free_port())]
        place = Path(site.python).parents[2]
        environ = {"TRITON_CACHE": str(place), **THEIRS, "PYTHON": site.python}
        return [Command([*shlex.split(TRITON), *ports], environ, "tritonserver")]

    return commands


def triton_config(name: str, batching: bool) -> str:
    """config.pbtxt of a model: one instance, shapes of one row."""
    model = MODELS[name]
    return f"""name: "{name}"
        backend: "python"
        max_batch_size: {model.largest_batch}
        input [{{ name: "{model.source}" data_type: TYPE_FP32 dims: {list(model.shape)} }}]
        output [{{ name: "{model.output}" data_type: TYPE_FP32 dims: [ {model.width} ] }}]
        instance_group [{{ count: 1 kind: KIND_CPU }}]
        {"dynamic_batching { }" if batching else ""}"""


def mlserver(site: Site) -> list[Command]:
    """A folder with the server's settings and a folder for each model."""
    settings = {
        "host": "127.0.0.1",
        "http_port": site.port,
        "grpc_port": site.grpc_port,
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
        "grpc_max_message_length": 64 * 2**20,
    }
    for name in MODELS:
        folder = site.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {"name": name, "implementation": "bench.peers.mlserver_model.OnnxModel"}
        (folder / "model-settings.json").write_text(json.dumps(chosen))
    (site.folder / "settings.json").write_text(json.dumps(settings))
    argv = [str(Path(site.python).parent / "mlserver"), "start", str(site.folder)]
    return [Command(argv, THEIRS, "mlserver")]


def bentoml(site: Site) -> list[Command]:
    """The service in one worker."""
    argv = [
        str(Path(site.python).parent / "bentoml"),
        "serve",
        "bench.peers.bento_service:Models",
        "--port",
        str(site.port),
    ]
    environ = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(site.folder), **THEIRS}
    return [Command([*argv, "--host", "127.0.0.1"], environ, "bentoml")]


def kserve(site: Site) -> list[Command]:
    """All models in one process, without its gRPC port."""
    options = [
        "--http_port",
        site.port,
        "--workers",
        1,
        "--enable_grpc",
        "false",
        "--enable_docs_url",
        "false",
    ]
    return [here(site, "kserve_server", *options)]


PREDICT: dict[str, Ask] = {"row": ask.predict, "json": ask.picture}
BYTES: dict[str, Ask] = {**PREDICT, "binary": ask.picture_bytes}
V2: dict[str, Ask] = {"row": ask.v2, "json": ask.v2, "binary": ask.v2_binary}

ALL = (
    Peer("ours", ours, {**V2, "row": ask.predict}, "/v2/models/three/ready", has_gateway=True),
    Peer("echo", lambda site: [here(site, "echo", site.port)], {"row": ask.anything}),
    Peer(
        "fastapi", lambda site: [here(site, "monolith", site.port)], BYTES,
        environment="fastapi", packages=("fastapi", "uvicorn", "pydantic", "onnxruntime"),
    ),
    Peer(
        "naive-aio", naive("aio"), BYTES,
        environment="naive", packages=("fastapi", "grpcio", "uvicorn", "onnxruntime"),
    ),
    Peer("naive-sync", naive("sync"), PREDICT, environment="naive", packages=("grpcio",)),
    Peer(
        "triton", triton(batching=False), V2, "/v2/health/ready", absent=NO_TRITON,
        environment="triton", packages=("nvidia-pytriton", "onnxruntime"), can_stand=False,
    ),
    Peer("triton-batching", triton(batching=True), V2, "/v2/health/ready", absent=NO_TRITON, environment="triton",
    can_stand=False), Peer(
        "mlserver", mlserver, V2, "/v2/health/ready",
        environment="mlserver", packages=("mlserver", "uvicorn", "grpcio", "onnxruntime"),
    ),
    Peer(
        "kserve", kserve, V2, "/v2/health/ready",
        environment="kserve", packages=("kserve", "uvicorn", "onnxruntime"),
    ),
    Peer("bentoml", bentoml, PREDICT, "/readyz", environment="bentoml", packages=("bentoml", "onnxruntime")),
    Peer(
        "litserve", lambda site: [here(site, "litserve_server", site.port)], PREDICT, "/health",
        environment="litserve", packages=("litserve", "uvicorn", "onnxruntime"),
    ),
)  # fmt: skip
BY_NAME = {peer.name: peer for peer in ALL}
