"""Traffic in the chart's values: what a gateway reads of it is what they say."""

from __future__ import annotations

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.routing.traffic.contents import ModelEntry, read_traffic
from inferencehub.gateway.routing.traffic.rollback import RollbackEntry
from inferencehub.gateway.routing.traffic.shadow import ShadowEntry
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, environ, one, render


def test_the_gateway_reads_the_traffic_in_the_values() -> None:
    objects = render(COMBINATIONS["traffic"])
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "traffic"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "traffic"]
    assert "subPath" not in mount, "such a file would never change"
    assert read_settings(GatewaySettings, environ(pod)).traffic == f"{mount['mountPath']}/traffic.json"
    written = one(objects, "ConfigMap", "-traffic")
    assert volume["configMap"]["name"] == written["metadata"]["name"]
    assert read_traffic(written["data"]["traffic.json"].encode()) == {
        "fraud": ModelEntry(
            {"stable": 90, "canary": 0.5},
            {"stable": "1", "canary": "2"},
            "x-user-id",
            RollbackEntry("canary", 0.05, 100, 500, 30.5),
        ),
        "ranker": ModelEntry({"7": 1}, shadow=ShadowEntry("8", 0.1)),
    }


def test_a_change_restarts_no_gateway() -> None:
    changed = at("traffic.models", {"ranker": {"weights": {"8": 1}}})
    pods = [
        one(render(values), "Deployment", "gateway")["spec"]["template"]
        for values in (COMBINATIONS["traffic"], changed)
    ]
    assert pods[0] == pods[1]


def test_without_traffic_there_is_no_file() -> None:
    objects = render()
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    assert not read_settings(GatewaySettings, environ(pod)).traffic
    assert not [each for each in objects if each["metadata"]["name"].endswith("-traffic")]
