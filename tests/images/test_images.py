"""Both container images, in a real container engine: `make images test-images`.

The tests use the `docker` command, as a user would, and ports that are published on loopback. The containers of a test
are named `inferencehub-test...`, and are removed at its end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.onnx_files import STRING, one_node, tensor_type

pytestmark = pytest.mark.images

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = "inferencehub-gateway:dev"
INFERENCE = "inferencehub-inference:dev"
VALKEY = "inferencehub-valkey:dev"
NAME = "inferencehub-test"
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
DIRECT = build_opener(ProxyHandler({}))  # asks no proxy of the environment
PREDICTION = {"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"}


def docker(*args: str, timeout: float = 120, env: dict[str, str] | None = None) -> str:
    """Standard output of `docker ARGS`; a failure shows what the command said."""
    done = subprocess.run(
        ["docker", *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=os.environ | (env or {}),
    )
    assert done.returncode == 0, f"docker {' '.join(args)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def inside(image: str, program: str, *args: str) -> str:
    """Standard output of a program of the image, run as the image's own user."""
    return docker("run", "--rm", "--network", "none", *LOCKED_DOWN, "--entrypoint", program, image, *args)


def found_modules(image: str, *names: str) -> set[str]:
    """Those of the modules that the image's Python can find."""
    source = (
        "import importlib.util, json, sys\n"
        "def found(name):\n"
        "    try: return importlib.util.find_spec(name) is not None\n"
        "    except ModuleNotFoundError: return False\n"
        "print(json.dumps([name for name in sys.argv[1:] if found(name)]))"
    )
    return set(json.loads(inside(image, "/opt/venv/bin/python", "-c", source, *names)))


def predict(address: str, body: Mapping[str, object]) -> tuple[int, dict[str, object]]:
    """Status and answer of a `/predict`."""
    try:
        with DIRECT.open(
            Request(f"http://{address}/predict", json.dumps(body).encode()), timeout=30
        ) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def served(address: str) -> list[str]:
    """The names of the models that `/v2/models` lists."""
    with DIRECT.open(f"http://{address}/v2/models", timeout=30) as answer:
        return [model["name"] for model in json.load(answer)["models"]]


def post_predict(address: str) -> tuple[dict[str, object], str]:
    """The answer of `/predict` and the pod that made it."""
    request = Request(f"http://{address}/predict", json.dumps(PREDICTION).encode())
    with DIRECT.open(request, timeout=30) as answer:
        return json.load(answer), answer.headers["X-Served-By"]


def wait_until_ready(address: str, path: str = "readyz", seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    reason = "never asked"
    while time.monotonic() < end:
        try:
            with DIRECT.open(f"http://{address}/{path}", timeout=5):
                return
        except HTTPError as error:
            reason = f"{error.code} {error.read().decode(errors='replace')}"
        except (URLError, OSError) as error:
            reason = str(error)
        time.sleep(0.2)
    pytest.fail(f"{address} not ready after {seconds:.0f} s: {reason}")


@contextmanager
def running_pair(image: str = INFERENCE, *options: str) -> Iterator[tuple[str, str, str]]:
    """Both tiers on a network of their own: the gateway's published address and the two containers' names.

    Args:
        image: that of the inference service.
        options: of its `docker run`.
    """
    network, gateway, inference = NAME, f"{NAME}-gateway", f"{NAME}-inference"
    run = ("run", "--detach", "--network", network, *LOCKED_DOWN)
    docker("network", "create", network)
    try:
        docker(*run, "--name", inference, "--network-alias", "inference-service", *options, image)
        pods = ("--env", "GRPC_SERVER_URL=inference-service:50051")
        docker(*run, "--name", gateway, "--publish", "127.0.0.1::3000", *pods, GATEWAY)
        address = docker("port", gateway, "3000/tcp")
        wait_until_ready(address, "v2/health/ready")  # a pod serves, too
        yield address, gateway, inference
    except BaseException:
        for name in (gateway, inference):
            subprocess.run(["docker", "logs", "--tail", "50", name], stderr=subprocess.STDOUT)
        raise
    finally:
        subprocess.run(["docker", "rm", "--force", gateway, inference], capture_output=True)
        docker("network", "rm", network)


@contextmanager
def running_compose(replicas: int, *options: str, **variables: str) -> Iterator[str]:
    """compose.yaml as it stands, on a free port of loopback: the gateway's address.

    Args:
        replicas: of the inference service.
        options: of `docker compose`.
        variables: that the file reads.
    """
    compose = ("compose", "--project-name", NAME, *options)
    env = {"GATEWAY_PORT": "127.0.0.1:0", "GATEWAY_GRPC_PORT": "127.0.0.1:0", **variables}
    try:
        docker(*compose, "up", "--detach", "--no-build", "--scale", f"inference-service={replicas}", env=env)
        address = docker(*compose, "port", "gateway", "3000", env=env)
        wait_until_ready(address)
        yield address
    except BaseException:
        print(docker(*compose, "logs", "--tail", "50", env=env))
        raise
    finally:
        docker(*compose, "down", "--volumes", "--timeout", "15", env=env)


def test_each_image_holds_its_own_tier_only() -> None:
    tiers = ("inferencehub.core", "inferencehub.pb", "inferencehub.gateway", "inferencehub.inference")
    libraries = ("grpc", "starlette", "numpy", "onnxruntime", "grpc_tools", "pip", "setuptools")
    assert found_modules(GATEWAY, *tiers, *libraries) == {
        "inferencehub.core", "inferencehub.pb", "inferencehub.gateway", "grpc", "starlette",
    }  # fmt: skip
    assert found_modules(INFERENCE, *tiers, *libraries) == {
        "inferencehub.core", "inferencehub.pb", "inferencehub.inference", "grpc", "numpy", "onnxruntime",
    }  # fmt: skip


def test_the_doctor_looks_at_both_tiers_from_inside() -> None:
    with running_pair() as (_, gateway, inference):
        for name, tier in ((gateway, "gateway"), (inference, "inference")):
            assert docker("exec", name, "inferencehub", "doctor").startswith(f"{tier} ")
    wrong = ("--env", "HUB_HOLD_S=soon", GATEWAY, "doctor")
    done = subprocess.run(
        ["docker", "run", "--rm", *LOCKED_DOWN, *wrong], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "FAULT    settings: HUB_HOLD_S is 'soon'" in done.stdout) == (1, True)


def test_a_string_normalizer_finds_its_locale() -> None:
    kind = tensor_type(STRING, ["n"])
    content = one_node("StringNormalizer", {"x": kind}, kind, case_change_action="LOWER")
    source = (
        "import numpy, onnxruntime, sys\n"
        "session = onnxruntime.InferenceSession(bytes.fromhex(sys.argv[1]))\n"
        "print(*session.run(None, {'x': numpy.array(['\u017b\u00d3\u0141W', 'Abc'], dtype=object)})[0])"
    )
    assert inside(INFERENCE, "/opt/venv/bin/python", "-c", source, content.hex()) == "żółw abc"


@pytest.mark.parametrize("image", [GATEWAY, INFERENCE])
def test_image_runs_as_a_numeric_user_who_owns_nothing(image: str) -> None:
    assert docker("image", "inspect", "--format", "{{.Config.User}}", image) == "65532:65532"
    assert inside(image, "id", "-u") == "65532"
    assert inside(image, "find", "/opt/venv", "/app", "!", "-user", "root") == ""


@pytest.mark.parametrize("image", [GATEWAY, INFERENCE])
def test_image_has_no_compiler(image: str) -> None:
    look = "for tool in cc gcc c++ g++ clang ld strip make; do command -v $tool; done; true"
    assert inside(image, "sh", "-c", look) == ""


def test_gateway_reads_large_json_by_compiled_code() -> None:
    source = "from inferencehub.gateway.json_codec.native_numbers import native; print(native is not None)"
    assert inside(GATEWAY, "/opt/venv/bin/python", "-c", source) == "True"


def test_gateway_adds_less_than_90_mb_to_its_base() -> None:
    """Of which 16 MB are cryptography, for JWTs, and 6 MB the client of Redis, for jobs of several gateways."""
    base = re.search(r"^ARG PYTHON_IMAGE=(.+)$", (ROOT / "Dockerfile.gateway").read_text(), re.MULTILINE)
    assert base is not None
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (base[1], GATEWAY)]
    added = (sizes[1] - sizes[0]) / 1e6
    print(f"gateway over its base: {added:.1f} MB")
    assert 0 < added < 90


@pytest.mark.timing
def test_read_only_pair_answers_over_a_published_port_and_ends_cleanly_on_sigterm() -> None:
    with running_pair() as (address, *containers):
        answer, served_by = post_predict(address)
        assert answer["error"] == ""
        assert answer["class_id"] in range(5)
        assert served_by
        for name in containers:
            begun = time.monotonic()
            docker("kill", "--signal", "TERM", name)
            assert docker("wait", name, timeout=30) == "0"
            assert time.monotonic() - begun < 15


def test_compose_spreads_300_requests_over_three_replicas() -> None:
    with running_compose(replicas=3) as address:
        seen: set[str] = set()
        end = time.monotonic() + 30
        with ThreadPoolExecutor(30) as clients:
            while len(seen) < 3 and time.monotonic() < end:
                seen |= {pod for _, pod in clients.map(post_predict, [address] * 30)}
            answers = list(clients.map(post_predict, [address] * 300))
        assert [answer["error"] for answer, _ in answers] == [""] * 300
        shares = Counter(pod for _, pod in answers)
        print(f"requests by replica: {dict(shares)}")
        assert len(shares) == 3
        assert min(shares.values()) >= 60


def test_compose_keeps_jobs_with_its_profile_for_them() -> None:
    """Also over the end of their store and of the gateway."""
    chosen = {"HUB_JOBS": "redis://jobs:6379/0", "VALKEY_IMAGE": VALKEY}
    with running_compose(1, "--profile", "jobs", **chosen) as address:
        wait_until_ready(address, "v2/health/ready")
        right = post_predict(address)[0]
        body = json.dumps(PREDICTION).encode()
        headers = {"prefer": "respond-async", "content-type": "application/json"}
        request = Request(f"http://{address}/predict", body, headers)
        with DIRECT.open(request, timeout=10) as answer:
            assert (answer.status, answer.headers["hub-durability"]) == (202, "always")
            job = answer.headers["location"]
        docker("restart", f"{NAME}-jobs-1", f"{NAME}-gateway-1")
        address = docker("port", f"{NAME}-gateway-1", "3000/tcp")  # another one
        wait_until_ready(address)
        with DIRECT.open(f"http://{address}{job}/result?wait=20", timeout=30) as answer:
            assert (answer.status, json.loads(answer.read())) == (200, right)


FEATURES = {"features": [0.5, 1.2, -3.4]}
SAMPLES = ["digits", "letter-grams", "markov-chat", "nearest-colour", "sentiment", "v1-mock"]
SAYS_SAMPLES = "no models were given: serving the samples"


def test_an_image_without_models_serves_the_samples_and_says_so() -> None:
    with running_pair() as (address, _, inference):
        assert served(address) == SAMPLES
        assert predict(address, FEATURES) == (200, {"class_id": 3, "confidence": 0.94, "error": ""})
        assert SAYS_SAMPLES in logs(inference)


def logs(container: str) -> str:
    """Standard error of a container."""
    done = subprocess.run(
        ["docker", "logs", container], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr


@pytest.mark.parametrize("names", [["mine"], ["mine", "yours"]])
def test_an_image_built_from_ours_serves_its_own_models_alone(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        shutil.copytree(ROOT / "models" / "v1-mock", tmp_path / "models" / name)
        config = tmp_path / "models" / name / "config.pbtxt"
        kept = [line for line in config.read_text().splitlines() if "default_for" not in line]
        config.write_text("\n".join(kept).replace('"v1-mock"', f'"{name}"'))
    (tmp_path / "Dockerfile").write_text(f"FROM {INFERENCE}\nWORKDIR /srv\nCOPY models /models\n")
    docker("build", "--tag", f"{NAME}-own", str(tmp_path))
    try:
        with running_pair(f"{NAME}-own") as (address, _, inference):
            check_own(address, inference, names)
    finally:
        docker("image", "rm", "--force", f"{NAME}-own")
    with running_pair(INFERENCE, "--volume", f"{tmp_path / 'models'}:/models:ro") as (address, _, inference):
        check_own(address, inference, names)


def check_own(address: str, inference: str, names: list[str]) -> None:
    """Check that exactly these models are served, and that of several ones a request must name one."""
    assert served(address) == names
    status, answer = predict(address, FEATURES)
    if len(names) == 1:
        assert (status, answer["class_id"]) == (200, 3)
    else:
        assert (status, answer["error"]) == (400, "model_name is missing, expected one of: mine, yours")
    assert predict(address, {**FEATURES, "model_name": "v1-mock"})[0] == 404
    assert SAYS_SAMPLES not in logs(inference)


def test_a_model_that_leaves_orphans_leaves_no_zombies(tmp_path: Path) -> None:
    (tmp_path / "models" / "orphans" / "1").mkdir(parents=True)
    (tmp_path / "models" / "orphans" / "config.pbtxt").write_text(
        'backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [3] } '
        'output { name: "y" data_type: TYPE_FP32 dims: [3] }'
    )
    (tmp_path / "models" / "orphans" / "1" / "model.py").write_text(
        "import subprocess\n"
        "class Model:\n"
        "    def __init__(self, directory, parameters): pass\n"
        "    def predict(self, inputs):\n"
        "        subprocess.run(['sh', '-c', 'sleep 0.1 & exit'])\n"
        "        return {'y': inputs['x']}\n"
    )
    states = (
        "import glob\n"
        "zombies = 0\n"
        "for path in glob.glob('/proc/[0-9]*/stat'):\n"
        "    try:\n"
        "        zombies += ' Z ' in open(path).read()\n"
        "    except (FileNotFoundError, ProcessLookupError):\n"
        "        pass  # it has gone meanwhile\n"
        "print(zombies)\n"
    )
    with running_pair(INFERENCE, "--volume", f"{tmp_path / 'models'}:/models:ro") as (address, _, inference):
        for _ in range(20):
            assert predict(address, {"features": [1, 3, 2]})[0] == 200
        end = time.monotonic() + 10
        while (left := docker("exec", inference, "python", "-c", states)) != "0" and time.monotonic() < end:
            time.sleep(0.1)
        assert left == "0"


def test_compose_starts_again_what_dies() -> None:
    with running_compose(replicas=1) as address:
        for service in ("inference-service", "gateway"):
            container = docker("compose", "--project-name", NAME, "ps", "--quiet", service)
            before = docker("inspect", "--format", "{{.State.StartedAt}}", container)
            # From outside, because a container's process 1 cannot be killed from within.
            os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", container)), signal.SIGKILL)
            end = time.monotonic() + 30
            while docker("inspect", "--format", "{{.State.StartedAt}}", container) == before:
                assert time.monotonic() < end
                time.sleep(0.1)
            address = docker("compose", "--project-name", NAME, "port", "gateway", "3000")
            wait_until_ready(address)
            assert post_predict(address)[0]["error"] == ""
