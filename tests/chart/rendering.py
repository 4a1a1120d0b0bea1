"""The chart, rendered as `helm install` would, by Helm's own code in this process."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hub import ROOT

helm = pytest.importorskip("helm_python", reason="no helm-python-sdk for this platform", exc_type=ImportError)

CHART = ROOT / "charts" / "inferencehub"
KIND_VALUES = CHART / "ci" / "kind-values.yaml"
VALUES_FILES = sorted([*CHART.glob("values-*.yaml"), *CHART.glob("ci/*.yaml")])

Values = Mapping[str, Any]
Object = dict[str, Any]
WORKLOADS = ("Deployment", "StatefulSet")


@cache
def chart() -> Any:
    """The loaded chart."""
    return helm.Chart.load(CHART)


def rendered(values: Values, release: str = "hub", namespace: str = "ml") -> dict[str, str]:
    """The text of each template by its path within templates/, rendered anew; the schema checks the values first."""
    chart().validate_schema(dict(values))
    found = chart().render(dict(values), name=release, namespace=namespace)
    return {path.partition("/templates/")[2]: text for path, text in found.items()}


@cache
def kept(values: str, release: str, namespace: str) -> tuple[dict[str, str], str]:
    """Texts by template, and the objects in them as JSON, of values as JSON. Many tests share one rendering."""
    found = rendered(json.loads(values), release, namespace)
    objects = {path: read_yaml(text) for path, text in sorted(found.items()) if path.endswith(".yaml")}
    return found, json.dumps(objects)


def texts(values: Values | None = None, release: str = "hub", namespace: str = "ml") -> dict[str, str]:
    """The text of each template by its path within templates/."""
    return dict(kept(json.dumps(values or {}), release, namespace)[0])


def by_template(
    values: Values | None = None, release: str = "hub", namespace: str = "ml"
) -> dict[str, list[Object]]:
    """The objects of a release by the path of their template; a caller may change them."""
    found: dict[str, list[Object]] = json.loads(kept(json.dumps(values or {}), release, namespace)[1])
    return found


def render(values: Values | None = None, release: str = "hub", namespace: str = "ml") -> list[Object]:
    """The objects of a release; a caller may change them."""
    return [thing for objects in by_template(values, release, namespace).values() for thing in objects]


def read_yaml(text: str) -> list[Object]:
    """The documents of a text."""
    return [
        document
        for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if document
    ]


def read_values(*paths: Path) -> dict[str, Any]:
    """Values files, a later one over an earlier one."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = merge(merged, yaml.safe_load(path.read_text()))
    return merged


def merge(under: Values, over: Values) -> dict[str, Any]:
    """Values over values, as Helm lays them."""
    both = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            both[key] = merge(under[key], over[key])
    return both


def at(path: str, value: Any) -> dict[str, Any]:
    """Values with one of them set: at("gateway.replicas", 2)."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [one for one in objects if one["kind"] == kind]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The object of that kind whose name ends so."""
    found = [thing for thing in of_kind(objects, kind) if thing["metadata"]["name"].endswith(name)]
    assert len(found) == 1, f"{len(found)} of kind {kind} named …{name}"
    return found[0]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Name, metadata and spec of each pod that the objects make, that of `helm test` too."""
    for thing in objects:
        if thing["kind"] in WORKLOADS:
            template = thing["spec"]["template"]
            yield thing["metadata"]["name"], template["metadata"], template["spec"]
        elif thing["kind"] == "Pod":
            yield thing["metadata"]["name"], thing["metadata"], thing["spec"]


def containers(spec: Object) -> Iterator[Object]:
    """All containers of a pod."""
    return itertools.chain(spec.get("initContainers", []), spec["containers"])


def environ(spec: Object) -> dict[str, str]:
    """The environment of a pod's first container."""
    return {entry["name"]: entry.get("value", "") for entry in spec["containers"][0].get("env", [])}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether matchLabels select a pod with these labels."""
    return selector.items() <= labels.items()
