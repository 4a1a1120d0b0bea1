"""The sources of models: each source works, a change of models replaces the pods, and the demo's model works."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.chart.combinations import COMBINATIONS, FILES
from tests.chart.rendering import CHART, Object, at, chart, environ, merge, of_kind, one, read_values, render
from tests.hub import running_hub


def template(values: dict[str, Any], pool: str = "default") -> Object:
    """The pod template of a pool."""
    found: Object = one(render(values), "Deployment", f"-inference-{pool}")["spec"]["template"]
    return found


def volume(pod: Object, name: str = "models") -> Object | None:
    """A volume of a pod by its name; None where there is none."""
    return next((entry for entry in pod["spec"]["volumes"] if entry["name"] == name), None)


def mounted(pod: Object) -> Object | None:
    """How /models is mounted; None where it is the image's own."""
    mounts = pod["spec"]["containers"][0]["volumeMounts"]
    return next((mount for mount in mounts if mount["mountPath"] == "/models"), None)


def test_the_image_brings_its_own() -> None:
    pod = template({})
    assert volume(pod) is None
    assert mounted(pod) is None
    assert "HUB_MODELS" not in environ(pod["spec"])


@pytest.mark.parametrize("name", [name for name in COMBINATIONS if name.startswith("models-of-")])
def test_models_that_are_given_are_the_only_ones(name: str) -> None:
    """The pod has no other place to look at, so an empty volume is not replaced by the samples."""
    pod = template(COMBINATIONS[name])
    assert environ(pod["spec"])["HUB_MODELS"] == (mounted(pod) or {})["mountPath"] == "/models"


def test_files_become_a_repository() -> None:
    objects = render(COMBINATIONS["models-of-files"])
    (config_map,) = of_kind(objects, "ConfigMap")
    pod = template(COMBINATIONS["models-of-files"])
    source = (volume(pod) or {})["configMap"]
    assert source["name"] == config_map["metadata"]["name"]
    assert {item["path"]: config_map["data"][item["key"]] for item in source["items"]} == FILES
    assert (mounted(pod) or {})["readOnly"] is True


def test_binary_files_stand_beside_texts() -> None:
    objects = render(COMBINATIONS["models-of-binary-files"])
    (config_map,) = of_kind(objects, "ConfigMap")
    pod = template(COMBINATIONS["models-of-binary-files"])
    keys = {item["path"]: item["key"] for item in (volume(pod) or {})["configMap"]["items"]}
    assert config_map["data"] == {keys["net/config.pbtxt"]: 'backend: "onnx"'}
    # In lines, as base64 prints it.
    content = b64decode(config_map["binaryData"][keys["net/1/model.onnx"]], validate=True)
    assert content == bytes([0, 1, 2, 3, 4, 5, 0xFF, 0xEF])


def test_a_binary_file_alone_is_a_repository_and_its_change_replaces_pods() -> None:
    def files(content: str) -> dict[str, Any]:
        return {
            "models": {"source": "configMap", "configMap": {"binaryFiles": {"net/1/model.onnx": content}}}
        }

    (config_map,) = of_kind(render(files("AAAA")), "ConfigMap")
    assert "data" not in config_map
    assert template(files("AAAA")) != template(files("AAAB"))


def test_a_change_of_files_replaces_pods_of_the_pools_that_have_them_alone() -> None:
    values = merge(
        COMBINATIONS["models-of-files"],
        at("inference.pools", {"claim": {"models": COMBINATIONS["models-of-claim"]["models"]}}),
    )
    changed = merge(values, {"models": {"configMap": {"files": {"echo/1/model.py": "class Model: pass"}}}})
    assert template(values) != template(changed)
    assert template(values, "claim") == template(changed, "claim")
    for untouched in ("gateway",):
        assert one(render(values), "Deployment", untouched) == one(render(changed), "Deployment", untouched)


def test_a_config_map_of_ones_own_is_mounted_as_its_items_say() -> None:
    values = COMBINATIONS["models-of-config-map"]
    assert of_kind(render(values), "ConfigMap") == []
    assert (volume(template(values)) or {})["configMap"] == {
        "name": "mine",
        "items": values["models"]["configMap"]["items"],
    }


def test_a_claim_is_mounted_read_only() -> None:
    pod = template(COMBINATIONS["pools"], "gpu")
    assert (volume(pod) or {})["persistentVolumeClaim"] == {"claimName": "gpu-models", "readOnly": True}
    assert mounted(pod) == {"name": "models", "mountPath": "/models", "readOnly": True, "subPath": "prod"}
    assert mounted(template(COMBINATIONS["pools"])) is None


def test_an_init_container_fills_what_the_model_container_reads() -> None:
    pod = template(COMBINATIONS["models-of-init-container"])
    (init,) = pod["spec"]["initContainers"]
    assert (init["image"], init["command"], init["args"]) == (
        "models:3",
        ["cp"],
        ["-r", "/repository/.", "/models"],
    )
    assert {"name": "models", "mountPath": "/models"} in init["volumeMounts"]
    assert mounted(pod) == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert (volume(pod) or {})["emptyDir"]


@pytest.mark.parametrize(
    ("values_file", "least_ms"), [("ci/burn-values.yaml", 15), ("values-scale-demo.yaml", 490)]
)
async def test_a_demo_model_takes_its_time_and_answers_as_helm_test_expects(
    values_file: str, least_ms: float, tmp_path: Path
) -> None:
    values = chart().merge_values(read_values(CHART / values_file))
    # As the kubelet mounts a ConfigMap: files in a directory of their own, links to it beside.
    for path, text in values["models"]["configMap"]["files"].items():
        file = tmp_path / "..data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for model in (tmp_path / "..data").iterdir():
        (tmp_path / model.name).symlink_to(model)
    async with running_hub(tmp_path) as hub:
        status, answer, headers = await hub.post("/predict", values["example"]["body"].encode())
    assert (status, answer["class_id"], answer["error"]) == (200, values["example"]["classId"], "")
    compute = dict(part.split(";dur=") for part in headers["Server-Timing"].split(", "))["compute"]
    # A lower bound: a busy machine only adds to it.
    assert float(compute) >= least_ms
