"""A real cluster, whichever kubectl points at: releases of the chart in namespaces of their own.

Only kubectl and helm are used. Both images must be on the nodes already (`make kind-load`, or what the cluster has).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "inferencehub"
KIND_VALUES = CHART / "ci" / "kind-values.yaml"
PATIENCE_S = 120
DIRECT = build_opener(ProxyHandler({}))  # asks no proxy of the environment

QUICK = """backend: "mock"
input { name: "features" data_type: TYPE_FP32 dims: [-1] }
output { name: "class_id" data_type: TYPE_INT32 dims: [1] }
output { name: "confidence" data_type: TYPE_FP32 dims: [1] }
instance_group { count: 8 }
parameters { key: "delay_ms" value { string_value: "100" } }
parameters { key: "predict_class" value { string_value: "class_id" } }
parameters { key: "predict_confidence" value { string_value: "confidence" } }
"""


def run(*command: str, stdin: str = "", timeout_s: float = 180) -> str:
    """Standard output of a command; a failure shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def mock_models(**models: str) -> dict[str, Any]:
    """Chart values for a model repository out of config.pbtxt texts by model name."""
    files = {f"{name}/config.pbtxt": config for name, config in models.items()}
    # A version is a directory, and a ConfigMap has directories only where it has files.
    files |= {f"{name}/1/README": "The mock backend has no model file.\n" for name in models}
    return {"source": "configMap", "configMap": {"files": files}}


def secret(name: str, **entries: str) -> dict[str, Any]:
    """A Secret; an underscore in an entry's name stands for a dot."""
    data = {key.replace("_", "."): b64encode(value.encode()).decode() for key, value in entries.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def tls_secret(name: str, chain: Path, key: Path, *authorities: Path) -> dict[str, Any]:
    """A Secret with a certificate and its key, and with the authorities that are trusted."""
    data = {"tls.crt": chain.read_bytes(), "tls.key": key.read_bytes()}
    if authorities:
        data["ca.crt"] = b"".join(file.read_bytes() for file in authorities)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "data": {key: b64encode(value).decode() for key, value in data.items()},
    }


def eventually(
    condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S, every_s: float = 0.2
) -> float:
    """Wait until a condition holds; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - began


def connects(host: str, port: int) -> bool:
    """Whether a process listens there."""
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex((host, port)) == 0


@contextmanager
def proxied() -> Iterator[str]:
    """Kubernetes' API by a plain address, with this machine's rights."""
    with subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield f"http://{proxy.stdout.readline().split()[-1]}"
        finally:
            proxy.terminate()


@dataclass(frozen=True)
class Pod:
    """What the tests read of a pod."""

    name: str
    ip: str
    node: str
    uid: str
    ready: bool
    ending: bool
    restarts: int


@dataclass
class Release:
    """The chart, installed as `name` in a namespace of its own."""

    namespace: str
    name: str = "hub"
    values: dict[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()

    @property
    def gateway(self) -> str:
        """The gateway's Deployment and Service."""
        return f"{self.name}-inferencehub-gateway"

    def inference(self, pool: str = "default") -> str:
        """A pool's Deployment and Service."""
        return f"{self.name}-inferencehub-inference-{pool}"

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 180) -> str:
        """kubectl in the release's namespace."""
        return run("kubectl", "--namespace", self.namespace, *arguments, stdin=stdin, timeout_s=timeout_s)

    def get(self, *what: str) -> Any:
        """Objects as kubectl's JSON."""
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def deploy(self, values: Mapping[str, Any] | None = None, wait_s: int = PATIENCE_S) -> None:
        """Install or upgrade, and wait until all is ready."""
        if values is not None:
            self.values = dict(values)
        command = ("upgrade", "--install", self.name, str(CHART), "--namespace", self.namespace)
        files = [argument for file in (*self.files, KIND_VALUES, "-") for argument in ("--values", str(file))]
        run("helm", *command, *files, "--wait", "--timeout", f"{wait_s}s", stdin=json.dumps(self.values))

    def put_secrets(self, component: str, *secrets: Mapping[str, Any]) -> None:
        """Change Secrets, and let the kubelet look at once."""
        self.kubectl("apply", "-f", "-", stdin="---\n".join(map(yaml.safe_dump, secrets)))
        self.look(component)

    def look(self, component: str) -> None:
        """Let kubelets look at the Secrets of pods: they do so once a minute, or if the pod changes."""
        for pod in self.pods(component):
            self.kubectl("annotate", "pod", pod.name, f"tests/looked-at={time.time()}", "--overwrite")

    def pods(self, component: str) -> list[Pod]:
        """The pods of a component, by name."""
        found = []
        for item in self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]:
            status = item["status"]
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            restarts = sum(c["restartCount"] for c in status.get("containerStatuses", []))
            found.append(
                Pod(
                    item["metadata"]["name"],
                    status.get("podIP", ""),
                    item["spec"].get("nodeName", ""),
                    item["metadata"]["uid"],
                    conditions.get("Ready") == "True",
                    "deletionTimestamp" in item["metadata"],
                    restarts,
                )
            )
        return sorted(found, key=lambda pod: pod.name)

    def ready(self, component: str) -> list[Pod]:
        """Those of them that are ready and stay."""
        return [pod for pod in self.pods(component) if pod.ready and not pod.ending]

    def scale(self, count: int, pool: str = "default") -> None:
        """Set the replicas of a pool."""
        self.kubectl("scale", f"deployment/{self.inference(pool)}", f"--replicas={count}")

    def restart(self, deployment: str) -> None:
        """Replace all pods of a Deployment, and wait until that is done."""
        self.kubectl("rollout", "restart", f"deployment/{deployment}")
        self.kubectl("rollout", "status", f"deployment/{deployment}", f"--timeout={PATIENCE_S}s")

    def url(self) -> str:
        """The gateway through its NodePort, on loopback where the cluster has it there, else on a node's address."""
        port = self.get("service", self.gateway)["spec"]["ports"][0]["nodePort"]
        nodes = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
        hosts = ["127.0.0.1"]
        hosts += [
            a["address"] for node in nodes for a in node["status"]["addresses"] if a["type"] == "InternalIP"
        ]
        # kube-proxy learns of a new Service a moment after it is there.
        eventually(lambda: any(connects(host, port) for host in hosts), f"NodePort {port} answers", 20)
        return f"http://{next(host for host in hosts if connects(host, port))}:{port}"

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """A port-forward to a Service or pod: its address on this machine."""
        command = ["kubectl", "--namespace", self.namespace, "port-forward", target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                yield line.split()[2]
            finally:
                process.terminate()

    def reloaded(self, count: int, **settings: str) -> None:
        """Wait until each pod of some tiers has taken that many new certificates: reloaded(1, gateway="HUB_TLS")."""
        for tier, setting in settings.items():
            wanted = f'inferencehub_{tier}_reloads_total{{setting="{setting}"}} {count:.1f}'
            for pod in self.pods(tier):
                with self.forwarded(f"pod/{pod.name}", 9090) as address:

                    def has_taken(address: str = address, wanted: str = wanted) -> bool:
                        with DIRECT.open(f"http://{address}/metrics") as answer:
                            return wanted in answer.read().decode().splitlines()

                    eventually(has_taken, f"{pod.name} has taken {count} certificates")

    def backends_up(self) -> int:
        """How many pods the gateways see as up: the least of all gateways."""
        counts = []
        for pod in self.ready("gateway"):
            with (
                self.forwarded(f"pod/{pod.name}", 9090) as address,
                DIRECT.open(f"http://{address}/metrics") as answer,
            ):
                lines = answer.read().decode().splitlines()
            counts += [
                float(line.split()[-1])
                for line in lines
                if line.startswith('inferencehub_gateway_backends{state="up"}')
            ]
        return int(min(counts, default=0))

    def diagnose(self) -> str:
        """What a person would look at after a failure: pods, events, the ends of all logs."""
        parts = [self.kubectl("get", "pods,deployments,hpa", "-o", "wide")]
        parts.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp"))
        for pod in [*self.pods("gateway"), *self.pods("inference"), *self.pods("scaler")]:
            done = subprocess.run(
                ["kubectl", "-n", self.namespace, "logs", pod.name, "--all-containers", "--tail=400"],
                capture_output=True,
                text=True,
            )
            lines = [
                line
                for line in done.stdout.splitlines()
                if '"event":"request"' not in line and '"event":"call"' not in line
            ]
            parts.append(f"--- {pod.name}\n" + "\n".join(lines[-60:]))
        return "\n".join(parts)


@contextmanager
def release(values: Mapping[str, Any], namespace: str, *files: Path) -> Iterator[Release]:
    """A release in a namespace that enforces the restricted Pod Security Standard; both are gone afterwards.

    Args:
        values: its values.
        namespace: where it is.
        files: of values, which hold unless this cluster or `values` say otherwise.
    """
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    subprocess.run(
        ["kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--wait"], capture_output=True
    )
    run("kubectl", "apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    made = Release(namespace, files=files)
    try:
        made.deploy(values)
        yield made
    except BaseException:
        print(made.diagnose())
        raise
    finally:
        subprocess.run(["helm", "uninstall", made.name, "-n", namespace], capture_output=True)
        # Pods take time to drain; the next test need not wait for that.
        subprocess.run(["kubectl", "delete", "namespace", namespace, "--wait=false"], capture_output=True)


def shown(hub: Release, line: str) -> None:
    """Wait until each gateway shows this line in its metrics; a cluster's DNS may show a new gateway after 30 s."""
    for pod in hub.ready("gateway"):
        with hub.forwarded(f"pod/{pod.name}", 9090) as address:

            def shows(address: str = address) -> bool:
                with DIRECT.open(f"http://{address}/metrics") as answer:
                    return line in answer.read().decode().splitlines()

            eventually(shows, f"{pod.name} shows {line}")


def nodes() -> list[str]:
    """The names of all nodes that are ready and take pods."""
    items = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
    return [
        item["metadata"]["name"]
        for item in items
        if not item["spec"].get("unschedulable")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"])
    ]


def said_by(name: str, namespace: str, image: str, overrides: Mapping[str, Any]) -> str:
    """What a pod that runs once has written to its termination log. Who is attached to a pod that ends at once may miss it."""
    pod = ("--namespace", namespace)
    run(
        "kubectl", "run", name, *pod, "--restart=Never", f"--image={image}", "--image-pull-policy=IfNotPresent",
        f"--overrides={json.dumps(overrides)}",
    )  # fmt: skip
    shown = ("kubectl", "get", "pod", name, *pod, "-o")
    message = "jsonpath={.status.containerStatuses[0].state.terminated.message}"
    try:
        eventually(lambda: run(*shown, "jsonpath={.status.phase}") in ("Succeeded", "Failed"), f"{name} ends")
        return run(*shown, message)
    finally:
        run("kubectl", "delete", "pod", name, *pod, "--wait=false")


SIGNAL = """
import os, sys
sys.stdout = open("/dev/termination-log", "w")
uid, tier, number = sys.argv[1:]
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        groups = open(f"/proc/{pid}/cgroup").read().replace("_", "-")
        command = open(f"/proc/{pid}/cmdline").read().replace(chr(0), " ")
        if uid in groups and f"-m inferencehub.{tier} " in command + " ":
            os.kill(int(pid), int(number))
            print("sent to", pid, command)
    except OSError:
        continue  # it has ended
"""


def send_signal(pod: Pod, tier: str, number: int = signal.SIGKILL) -> None:
    """A signal to the process of a pod, from a privileged pod on its node: none can stop its own container's first."""
    image = "inferencehub-inference:dev"
    overrides = {
        "spec": {
            "hostPID": True,
            "nodeName": pod.node,
            "containers": [
                {
                    "name": "signal",
                    "image": image,
                    "command": ["/opt/venv/bin/python", "-c", SIGNAL, pod.uid, tier, str(int(number))],
                    "securityContext": {"privileged": True, "runAsUser": 0},
                }
            ],
        }
    }
    said = said_by(f"signal-{os.getpid()}-{time.monotonic_ns() % 10**6}", "default", image, overrides)
    assert "sent to" in said, said
