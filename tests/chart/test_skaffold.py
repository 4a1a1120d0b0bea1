"""skaffold.yaml builds the images that the chart runs, and forwards a port to a Service that exists."""

from __future__ import annotations

from typing import Any

import yaml

from tests.chart.rendering import at, merge, one, pods, read_values, render
from tests.hub import ROOT

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
(RELEASE,) = CONFIG["manifests"]["helm"]["releases"]


def test_each_image_goes_into_its_tier() -> None:
    values = read_values(*[ROOT / path for path in RELEASE["valuesFiles"]])
    for path, text in RELEASE["setValueTemplates"].items():
        values = merge(values, at(path, text.strip("{}.")))
    images = {
        spec["containers"][0]["name"]: spec["containers"][0]["image"] for _, _, spec in pods(render(values))
    }
    for artifact in CONFIG["build"]["artifacts"]:
        tier = artifact["image"].removeprefix("inferencehub-")
        name = artifact["image"].replace("-", "_")
        assert artifact["docker"]["dockerfile"] == f"Dockerfile.{tier}"
        assert (ROOT / artifact["docker"]["dockerfile"]).exists()
        for argument in artifact["docker"].get("buildArgs", {}):
            assert f"\nARG {argument}=" in (ROOT / f"Dockerfile.{tier}").read_text()
        assert images[tier] == f"IMAGE_REPO_{name}:IMAGE_TAG_{name}"


def test_it_forwards_to_the_gateway() -> None:
    (forward,) = CONFIG["portForward"]
    service = one(render({}, RELEASE["name"]), "Service", "gateway")
    assert forward["resourceName"] == service["metadata"]["name"]
    assert forward["port"] == service["spec"]["ports"][0]["port"]


def test_the_demo_puts_its_values_on_top() -> None:
    profile = next(profile for profile in CONFIG["profiles"] if profile["name"] == "hpa-demo")
    (patch,) = profile["patches"]
    assert patch["path"].endswith("/valuesFiles/-")
    files = [*RELEASE["valuesFiles"], patch["value"]]
    assert one(render(read_values(*[ROOT / path for path in files])), "HorizontalPodAutoscaler", "default")
