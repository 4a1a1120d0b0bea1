"""A Prometheus in a pod that scrapes a release as its PodMonitor says, and computes the rules of its PrometheusRule.

There is no operator here to read the two, so this file reads them: what it takes of them is what the chart uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import yaml
from cluster import CHART, DIRECT, KIND_VALUES, Release, eventually, run

NAME = "prometheus"
IMAGE = "inferencehub-prometheus:dev"
POD_LABEL = "__meta_kubernetes_pod_label_"
PREFIX = "InferenceHub"
MONITORING = {
    "podMonitor": {"enabled": True, "interval": "5s"},
    "prometheusRule": {"enabled": True},
}


def spec_of(hub: Release, template: str) -> Any:
    """The `spec` of a template of monitoring/, rendered with the values of the release."""
    values = json.dumps({**hub.values, "monitoring": MONITORING})
    return yaml.safe_load(
        run(
            "helm", "template", hub.name, str(CHART), "--namespace", hub.namespace, "--values", str(KIND_VALUES),
            "--values", "-", "--kube-version", "1.29", "--api-versions", "monitoring.coreos.com/v1/PodMonitor",
            "--api-versions", "monitoring.coreos.com/v1/PrometheusRule", "--show-only", f"templates/monitoring/{template}.yaml", stdin=values,
        )
    )["spec"]  # fmt: skip


def sanitized(label: str) -> str:
    """A label of Kubernetes as Prometheus names it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


def scrape(hub: Release) -> dict[str, Any]:
    """What the operator makes of the PodMonitor."""
    monitor = spec_of(hub, "podmonitor")
    (endpoint,) = monitor["podMetricsEndpoints"]
    chosen = {label: [value] for label, value in monitor["selector"]["matchLabels"].items()}
    for one in monitor["selector"]["matchExpressions"]:
        assert one["operator"] == "In"
        chosen[one["key"]] = one["values"]
    keep = [
        {"action": "keep", "source_labels": [POD_LABEL + sanitized(label)], "regex": "|".join(values)}
        for label, values in chosen.items()
    ]
    keep.append(
        {
            "action": "keep",
            "source_labels": ["__meta_kubernetes_pod_container_port_name"],
            "regex": endpoint["port"],
        }
    )
    labels = {
        "namespace": "__meta_kubernetes_namespace",
        "pod": "__meta_kubernetes_pod_name",
        **{sanitized(label): POD_LABEL + sanitized(label) for label in monitor["podTargetLabels"]},
    }
    return {
        "job_name": NAME,
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [hub.namespace]}}],
        "relabel_configs": [
            *keep,
            *({"source_labels": [source], "target_label": target} for target, source in labels.items()),
        ],
    }


def objects(config: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pod and what it needs."""
    meta = {"name": NAME}
    subject = {"kind": "ServiceAccount", "name": NAME}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    rbac = "rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    files = {"prometheus.yml": json.dumps(config), "rules.json": json.dumps({"groups": groups})}
    container = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config.file=/config/prometheus.yml", "--storage.tsdb.path=/data"],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "serviceAccountName": NAME,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": [rule]},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": meta, "subjects": [subject], "roleRef": role},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**meta, "labels": {"inferencehub/scrape": "true"}},
            "spec": pod,
        },
    ]


class Prometheus:
    """What a Prometheus at an address says."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str) -> Any:
        """The data of an answer."""
        with DIRECT.open(f"http://{self.address}/api/v1/{path}") as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, expr: str) -> float | None:
        """The only sample of an expression; None where there is none."""
        found = self.ask(f"query?query={quote(expr)}")["result"]
        return float(found[0]["value"][1]) if found else None

    def alerts(self, state: str = "firing") -> dict[str, str]:
        """The sentences of the alerts that fire, or are pending, by name without the common beginning."""
        return {
            one["labels"]["alertname"].removeprefix(PREFIX): one["annotations"]["summary"]
            for one in self.ask("alerts")["alerts"]
            if one["state"] == state
        }


@contextmanager
def prometheus(hub: Release, soon: Set[str]) -> Iterator[Prometheus]:
    """A Prometheus that watches the release.

    Args:
        hub: the release.
        soon: alerts that fire after 10 s, however long their condition has to hold by the chart. If there are any, all
            rules are computed each 5 s.
    """
    groups = spec_of(hub, "prometheusrule")["groups"]
    if soon:
        for group in groups:
            group["interval"] = "5s"
            for rule in group["rules"]:
                if rule.get("alert", "").removeprefix(PREFIX) in soon:
                    rule["for"] = "10s"
    config = {"rule_files": ["rules.json"], "scrape_configs": [scrape(hub)]}
    made = [yaml.safe_dump(one) for one in objects(config, groups)]
    hub.kubectl("apply", "-f", "-", stdin="---\n".join(made))
    hub.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")
    with hub.forwarded(f"pod/{NAME}", 9090) as address:
        found = Prometheus(address)
        pods = sum(len(hub.ready(tier)) for tier in ("gateway", "inference", "scaler"))
        eventually(lambda: found.value("sum(up)") == pods, f"Prometheus reaches all {pods} pods", 60)
        yield found
