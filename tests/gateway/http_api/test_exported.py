"""/predict on models as libraries export them, without a config: the class that each model says, or a refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from math import exp
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, running_hub, write_model
from tests.inference.pod_processes import predict_of
from tests.onnx_files import UINT8, one_node, tensor_type

EXPORTED = Path(__file__).parent / "exported"
ANSWERS: dict[str, list[tuple[list[float], int | str, float]]] = json.loads(
    (EXPORTED / "answers.json").read_text()
)
NAMES = ["setosa", "versicolor", "virginica"]
CONFIG = """parameters { key: "predict_class" value { string_value: "label" } }
parameters { key: "predict_confidence" value { string_value: "probabilities" } }"""
BY_LABEL = CONFIG.replace("predict_class", "predict_label")
CONFIGURED = {
    "logistic": CONFIG,
    "logistic-10-20-30": CONFIG,
    "xgboost": CONFIG,
    "lightgbm-two": CONFIG,
    "logistic-1-2-3": CONFIG + 'parameters { key: "predict_classes" value { string_value: "1, 2, 3" } }',
    "logistic-text": CONFIG,
    "lightgbm-text": BY_LABEL,
}
REFUSED = {
    "regression": "'variable' FP32 [-1, 1]",
    "two-regressions": "'variable' FP32 [-1, 2]",
    "outliers": "beside the label 'label' INT64 [-1, 1] no output holds a score for each class",
    "multi-label": "its output 'label' INT64 [-1, 2] holds several labels a row",
    "sigmoid": "'probability' FP32 [-1, 1]",
    "embedding": "'sentence_embedding' FP32 [-1, 4]",
    "token-logits": "'logits' FP32 [-1, 2, 2]",
    "segmentation": "'output' FP32 [-1, 2, 2, 1]",
    "hidden-and-pooled": "'last_hidden_state' FP32 [-1, 2, 2], 'pooler_output' FP32 [-1, 4]",
    "two-inputs": "it needs more than one input, ['x', 'y']",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All exported models without a config, and some of them again with one."""
    models = tmp_path_factory.mktemp("models")
    for file in EXPORTED.glob("*.onnx"):
        add(models, file.stem, file.stem)
    for name, config in CONFIGURED.items():
        add(models, name, f"{name}-configured", config)
    return models


def add(models: Path, exported: str, name: str, config: str = "") -> None:
    """Put an exported model into a repository."""
    (models / name / "1").mkdir(parents=True)
    shutil.copy(EXPORTED / f"{exported}.onnx", models / name / "1" / "model.onnx")
    if config:
        (models / name / "config.pbtxt").write_text(config)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hub(repository: Path) -> AsyncIterator[Hub]:
    """Both tiers, which serve the repository."""
    async with running_hub(repository) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def predict(hub: Hub, model: str, features: list[float]) -> tuple[int, dict[str, Any]]:
    """Status and answer of the gateway's /predict."""
    status, answer, _ = await hub.post("/predict", {"model_name": model, "features": features})
    return status, answer


async def predict_at_pod(hub: Hub, model: str, features: list[float]) -> Any:
    """The pod's own answer to Predict, or its error."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel:
        call = predict_of(channel)
        try:
            return await call(predict_pb.PredictRequest(model_name=model, features=features))
        except grpc.aio.AioRpcError as error:
            return error


@pytest.mark.parametrize("name", [*ANSWERS, *(f"{name}-configured" for name in CONFIGURED)])
async def test_a_classifier_s_class_is_its_label_with_its_own_probability(hub: Hub, name: str) -> None:
    for features, label, share in ANSWERS[name.removesuffix("-configured")]:
        class_id = NAMES.index(label) if isinstance(label, str) else label
        word = label if isinstance(label, str) else ""
        status, answer = await predict(hub, name, features)
        assert (status, answer["class_id"], answer.get("label", "")) == (200, class_id, word), answer
        assert answer["confidence"] == pytest.approx(share, abs=1e-4)
        at_pod = await predict_at_pod(hub, name, features)
        assert (at_pod.class_id, at_pod.label) == (class_id, word)
        assert at_pod.confidence == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_model_without_a_class_is_refused_everywhere(hub: Hub, name: str) -> None:
    status, answer = await predict(hub, name, [0.1, 0.2, 0.3, 0.4])
    assert (status, answer["class_id"], answer["confidence"]) == (501, -1, 0.0)
    assert f"/predict cannot serve model '{name}': " in answer["error"]
    assert REFUSED[name] in answer["error"]
    assert f"use /v2/models/{name}/infer" in answer["error"]
    at_pod = await predict_at_pod(hub, name, [0.1, 0.2, 0.3, 0.4])
    assert (at_pod.code(), at_pod.details()) == (grpc.StatusCode.UNIMPLEMENTED, answer["error"])


async def test_the_list_of_models_says_which_ones_predict_cannot_serve(hub: Hub) -> None:
    _, listed, _ = await hub.get("/v2/models")
    no_predict = {model["name"]: model["no_predict"] for model in listed["models"]}
    assert {name for name, reason in no_predict.items() if reason} == set(REFUSED)
    assert all(reason in no_predict[name] for name, reason in REFUSED.items())


async def test_the_pod_s_log_says_it_at_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(tmp_path, "embedding", "embedding")
    add(tmp_path, "logistic", "logistic")
    with caplog.at_level("INFO"):
        async with running_hub(tmp_path):
            pass
    [line] = [record for record in caplog.records if record.message.startswith("model is not for /predict")]
    assert (vars(line)["model"], REFUSED["embedding"] in vars(line)["reason"]) == ("embedding", True)


@pytest.mark.parametrize("name", ["logits", "any-columns", "image-scores"])
async def test_without_a_label_the_highest_score_is_the_class(hub: Hub, name: str) -> None:
    features = [0.1, 0.3, 2.0, -1.0]
    status, answer = await predict(hub, name, features)
    assert (status, answer["class_id"]) == (200, 2), answer
    assert answer["confidence"] == pytest.approx(exp(2.0) / sum(map(exp, features)), abs=1e-5)


async def test_the_label_of_a_mixture_may_have_a_column(hub: Hub) -> None:
    features = [5.1, 3.5, 1.4, 0.2]
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": features}
    _, outputs, _ = await hub.post("/v2/models/mixture/infer", {"inputs": [tensor]})
    label, probabilities = outputs["outputs"]
    assert label["shape"] == [1, 1]
    status, answer = await predict(hub, "mixture", features)
    assert (status, answer["class_id"]) == (200, label["data"][0])
    assert answer["confidence"] == pytest.approx(max(probabilities["data"]), abs=1e-5)


async def test_one_column_is_found_at_the_call_where_the_file_does_not_say_it(hub: Hub) -> None:
    status, answer = await predict(hub, "any-columns", [0.7])
    assert (status, answer["class_id"]) == (501, -1)
    assert "its output 'output' gave a single number" in answer["error"]


async def test_several_rows_are_refused(hub: Hub) -> None:
    for name in ("logistic", "logits", "logistic-text"):
        status, answer = await predict(hub, name, [0.1] * 8)
        assert (status, answer["class_id"]) == (400, -1), name
        assert "expected the class of one row" in answer["error"]


async def test_a_label_of_the_lowest_score_is_refused(hub: Hub) -> None:
    # K-means gives distances as scores, so its label is the lowest.
    status, answer = await predict(hub, "kmeans", [5.1, 3.5, 1.4, 0.2])
    assert (status, answer["class_id"]) == (501, -1)
    assert "not the column of the highest score in 'scores'" in answer["error"]


async def test_the_config_lists_the_classes_that_the_file_has(hub: Hub) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel:
        ask: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelConfig",
            request_serializer=pb.ModelConfigRequest.SerializeToString,
            response_deserializer=pb.ModelConfigResponse.FromString,
        )
        answer = await ask(pb.ModelConfigRequest(name="logistic-10-20-30"))
        assert answer.config.parameters["predict_classes"].string_value == "10,20,30"
        # What the user writes stays.
        answer = await ask(pb.ModelConfigRequest(name="logistic-1-2-3-configured"))
        assert answer.config.parameters["predict_classes"].string_value == "1, 2, 3"


@pytest.mark.parametrize("name", [b"set,sa", b" etosa", b"etosa "])
async def test_names_that_the_config_cannot_list_cost_nothing(tmp_path: Path, name: bytes) -> None:
    add(tmp_path, "logistic-text", "odd")
    file = tmp_path / "odd" / "1" / "model.onnx"
    content = file.read_bytes()
    assert content.count(b"setosa") == 1
    file.write_bytes(content.replace(b"setosa", name))
    async with running_hub(tmp_path) as hub:
        [features, *_], *_ = ANSWERS["logistic-text"]
        status, answer = await predict(hub, "odd", features)
    assert (status, answer["class_id"], answer["label"]) == (200, 0, name.decode())


async def test_a_text_label_alone_is_a_class_where_the_config_says_so(tmp_path: Path) -> None:
    label = 'output { name: "label" } '
    add(tmp_path, "logistic-text", "said", label + CONFIG.splitlines()[0])
    add(tmp_path, "logistic-text", "unsaid", label)
    async with running_hub(tmp_path) as hub:
        for features, name, _ in ANSWERS["logistic-text"]:
            status, answer = await predict(hub, "said", features)
            expected = {"class_id": NAMES.index(str(name)), "confidence": 1.0, "label": name, "error": ""}
            assert (status, answer) == (200, expected)
            at_pod = await predict_at_pod(hub, "said", features)
            assert (at_pod.class_id, at_pod.confidence, at_pod.label) == (NAMES.index(str(name)), 1.0, name)
        status, answer = await predict(hub, "unsaid", features)
        assert (status, answer["class_id"]) == (501, -1)
        assert "beside the label 'label' BYTES [-1] no output holds a score for each class" in answer["error"]


async def test_quantized_probabilities_are_refused(tmp_path: Path) -> None:
    kind = tensor_type(UINT8, ["n", 3])
    write_model(
        tmp_path, "quantized", "", {"1/model.onnx": one_node("Identity", {"probabilities_in": kind}, kind)}
    )
    async with running_hub(tmp_path) as hub:
        status, answer = await predict(hub, "quantized", [10, 200, 45])
        assert (status, answer["class_id"], answer["confidence"]) == (501, -1, 0.0)
        assert "its output 'y' UINT8 [-1, 3] holds integers, whose scale is not known" in answer["error"]
        at_pod = await predict_at_pod(hub, "quantized", [10, 200, 45])
        assert (at_pod.code(), at_pod.details()) == (grpc.StatusCode.UNIMPLEMENTED, answer["error"])
