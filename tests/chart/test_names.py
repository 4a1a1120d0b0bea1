"""Names: long releases, two releases in one namespace, overrides."""

from __future__ import annotations

import re

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, merge, one, render

LONG = "a-release-whose-name-is-as-long-as-helm-allows-53-let"
POOL = "sixteen-letters1"
ALL = {
    "inference": {"pools": {POOL: {}, "default": {}}},
    "models": COMBINATIONS["models-of-files"]["models"],
    "monitoring": {"podMonitor": {"enabled": True}, "dashboard": {"enabled": True}},
    "ingress": {"enabled": True, "hosts": ["a.example.com"]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
}


def names(release: str, values: dict[str, object] | None = None) -> list[tuple[str, str]]:
    """Kind and name of each object of a release."""
    return [(thing["kind"], thing["metadata"]["name"]) for thing in render(values or ALL, release)]


@pytest.mark.parametrize("release", ["hub", "inferencehub", LONG, "hub.v2", "my-inferencehub-2"])
def test_names_are_valid_and_each_is_there_once(release: str) -> None:
    assert len(LONG) == 53
    found = names(release)
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"[a-z][-a-z0-9]{0,61}[a-z0-9]", name) for _, name in found)


def test_names_of_every_length_fit() -> None:
    # Around 20, where "-inferencehub" brings a name to its bound of 32, and around the bounds of the release's own name.
    for length in (1, 18, 19, 20, 21, 25, 31, 32, 33, 52, 53):
        assert max(len(name) for _, name in names("r" * length)) <= 63


@pytest.mark.parametrize("values", [ALL, {}])
def test_labels_are_short_enough(values: dict[str, object]) -> None:
    for thing in render(values, LONG):
        for value in thing["metadata"]["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?", value)


@pytest.mark.parametrize(
    ("first", "second"), [("hub", "hub2"), (LONG, LONG[:-1] + "x"), ("hub", "hub-gateway")]
)
def test_two_releases_of_a_namespace_share_no_object_and_no_pod(first: str, second: str) -> None:
    assert not set(names(first)) & set(names(second))
    for one_release, other in ((first, second), (second, first)):
        selector = one(render({}, one_release), "Deployment", "default")["spec"]["selector"]["matchLabels"]
        labels = one(render({}, other), "Deployment", "default")["spec"]["template"]["metadata"]["labels"]
        assert not selector.items() <= labels.items()


def test_the_pool_is_in_every_name_of_its_objects() -> None:
    without, with_pool = (
        names("hub", {}),
        names("hub", at("inference.pools.gpu", {})),
    )
    more = set(with_pool) - set(without)
    kinds = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    ops = ("Service", "hub-inferencehub-inference-gpu-ops")
    assert more == {(kind, "hub-inferencehub-inference-gpu") for kind in kinds} | {ops}


def test_overrides_change_names() -> None:
    assert ("Service", "models-gateway") in names("hub", {"fullnameOverride": "models"})
    assert ("Service", "hub-models-gateway") in names("hub", {"nameOverride": "models"})
    renamed = one(render({"nameOverride": "models"}), "Deployment", "gateway")
    assert renamed["metadata"]["labels"]["app.kubernetes.io/name"] == "models"


def test_common_labels_are_on_objects_and_pods() -> None:
    for thing in render(merge(ALL, {"commonLabels": {"team": "ml"}})):
        assert thing["metadata"]["labels"]["team"] == "ml"
        if thing["kind"] == "Deployment":
            assert thing["spec"]["template"]["metadata"]["labels"]["team"] == "ml"
            assert "team" not in thing["spec"]["selector"]["matchLabels"]
