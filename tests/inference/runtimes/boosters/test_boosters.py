"""Boosted trees from a file: their answers are the libraries' own, and a broken file costs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.signature import TensorSpec
from tests.hub import running_hub, running_pod, write_model
from tests.inference.runtimes.tables import CLASSES, NUMBERS, ROWS, Array, loaded, source_of, version

QUIET: dict[str, Any] = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}
HOLES = np.where(np.arange(ROWS.size).reshape(ROWS.shape) % 7 == 0, np.nan, ROWS)
FILES = {"lightgbm": ["model.txt"], "xgboost": ["model.ubj", "model.json"]}
FLOAT = {"lightgbm": "FP64", "xgboost": "FP32"}
each = pytest.mark.parametrize(
    ("backend", "file"), [(b, file) for b, files in FILES.items() for file in files]
)


def classifier(backend: str, classes: Array, **options: Any) -> Any:
    if backend == "lightgbm":
        return lightgbm.LGBMClassifier(**QUIET, verbosity=-1, **options).fit(ROWS, classes)
    return xgboost.XGBClassifier(**QUIET, **options).fit(ROWS, classes)


def regression(backend: str) -> Any:
    if backend == "lightgbm":
        return lightgbm.LGBMRegressor(**QUIET, verbosity=-1).fit(ROWS, NUMBERS)
    return xgboost.XGBRegressor(**QUIET).fit(ROWS, NUMBERS)


def save(model: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (model.booster_ if hasattr(model, "booster_") else model).save_model(path)


@pytest.mark.long
@each
async def test_a_classifier_gives_labels_and_probabilities(tmp_path: Path, backend: str, file: str) -> None:
    for name, classes in (("three", CLASSES), ("two", (CLASSES > 0).astype(int))):
        model = classifier(backend, classes)
        save(model, version(tmp_path / name) / file)
        async with loaded(source_of(tmp_path / name, file)) as served:
            count = len(np.unique(classes))
            assert served.signature.inputs == (TensorSpec("input", FLOAT[backend], (-1, 4)),)
            assert served.signature.outputs == (
                TensorSpec("label", "INT64", (-1,)),
                TensorSpec("probabilities", FLOAT[backend], (-1, count)),
            )
            for rows in (ROWS, HOLES):
                answer = await served(rows)
                assert np.array_equal(answer["label"], model.predict(rows))
                assert np.array_equal(answer["probabilities"], model.predict_proba(rows))
            assert (await served(ROWS[:0]))["probabilities"].shape == (0, count)


@pytest.mark.long
@each
async def test_a_regression_gives_numbers(tmp_path: Path, backend: str, file: str) -> None:
    model = regression(backend)
    save(model, version(tmp_path) / file)
    async with loaded(source_of(tmp_path, file)) as served:
        assert served.signature.outputs == (TensorSpec("variable", FLOAT[backend], (-1, 1)),)
        assert np.array_equal((await served(HOLES))["variable"].ravel(), model.predict(HOLES))


@pytest.mark.long
async def test_xgboost_says_probabilities_of_softmax_and_stops_at_its_best_tree(tmp_path: Path) -> None:
    softmax = xgboost.train({"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(ROWS, CLASSES), 4)
    save(softmax, version(tmp_path / "softmax") / "model.ubj")
    async with loaded(source_of(tmp_path / "softmax", "model.ubj")) as served:
        answer = await served(ROWS)
        assert np.array_equal(answer["label"], softmax.predict(xgboost.DMatrix(ROWS)))
        np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, rtol=1e-5)
    wrapped = classifier("xgboost", CLASSES, objective="multi:softmax")
    wrapped.get_booster().set_param({"objective": "multi:softmax"})
    save(wrapped, version(tmp_path / "wrapped") / "model.ubj")
    async with loaded(source_of(tmp_path / "wrapped", "model.ubj")) as served:
        assert np.array_equal((await served(ROWS))["probabilities"], wrapped.predict_proba(ROWS))
    noise = np.random.default_rng(0).integers(0, 2, len(ROWS))
    early = xgboost.XGBClassifier(**{**QUIET, "n_estimators": 30}, early_stopping_rounds=5)
    early.fit(ROWS[:150], noise[:150], eval_set=[(ROWS[150:], noise[150:])], verbose=False)
    assert early.best_iteration < early.get_booster().num_boosted_rounds() - 1
    save(early, version(tmp_path / "early") / "model.ubj")
    async with loaded(source_of(tmp_path / "early", "model.ubj")) as served:
        assert np.array_equal((await served(ROWS))["probabilities"], early.predict_proba(ROWS))


@pytest.mark.long
@pytest.mark.parametrize("targets", [2, 3])
async def test_several_labels_a_row_are_a_probability_each(tmp_path: Path, targets: int) -> None:
    model = xgboost.XGBClassifier(**QUIET).fit(ROWS, (ROWS[:, :targets] > 0).astype(int))
    save(model, version(tmp_path) / "model.ubj")
    async with loaded(source_of(tmp_path, "model.ubj")) as served:
        assert served.signature.outputs == (TensorSpec("variable", "FP32", (-1, targets)),)
        assert np.array_equal((await served(ROWS))["variable"], model.predict_proba(ROWS))


@pytest.mark.long
@pytest.mark.parametrize("booster", ["gblinear", "dart"])
async def test_other_boosters_of_xgboost(
    tmp_path: Path, booster: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = xgboost.XGBClassifier(**QUIET, booster=booster).fit(ROWS, CLASSES)
    save(model, version(tmp_path) / "model.ubj")
    async with loaded(source_of(tmp_path, "model.ubj")) as served:
        answer = await served(ROWS)
        assert np.array_equal(answer["label"], model.predict(ROWS))
        assert np.array_equal(answer["probabilities"], model.predict_proba(ROWS))
    assert "FutureWarning" not in caplog.text, "newer versions have a warning of their own for gblinear"


@pytest.mark.long
async def test_large_integers_are_exact_for_lightgbm(tmp_path: Path) -> None:
    numbers = np.arange(2**24, 2**24 + 40)[:, None]  # FP32 has every second one
    model = lightgbm.LGBMRegressor(
        n_estimators=30, n_jobs=1, verbosity=-1, min_child_samples=1, min_data_in_bin=1
    ).fit(numbers.astype(np.float64), numbers[:, 0] % 2)
    save(model, version(tmp_path) / "model.txt")
    config = 'input { name: "input" data_type: TYPE_INT64 dims: [ -1, 1 ] }'
    async with loaded(source_of(tmp_path, "model.txt", config)) as served:
        expected = model.predict(numbers.astype(np.float64))
        assert np.array_equal((await served(numbers))["variable"].ravel(), expected)


@pytest.mark.long
@pytest.mark.parametrize("backend", FILES)
async def test_listed_classes_are_the_labels(tmp_path: Path, backend: str) -> None:
    file = FILES[backend][0]
    model = classifier(backend, CLASSES)
    parameter = 'parameters {{ key: "predict_classes" value {{ string_value: "{}" }} }}'
    for listed, dtype in (("low,mid,high", "BYTES"), ("10,20,30", "INT64")):
        save(model, version(tmp_path) / file)
        async with loaded(source_of(tmp_path, file, parameter.format(listed))) as served:
            assert served.signature.outputs[0].dtype == dtype
            labels = [
                label.decode() if dtype == "BYTES" else str(label) for label in (await served(ROWS))["label"]
            ]
            assert labels == [listed.split(",")[index] for index in model.predict(ROWS)]
    with pytest.raises(HubError) as caught:
        async with loaded(source_of(tmp_path, file, parameter.format("a,b"))):
            pass
    assert caught.value.detail == "config.pbtxt: predict_classes lists 2 classes, the model has 3"


@pytest.mark.long
async def test_a_pod_goes_on_without_files_that_are_broken(tmp_path: Path) -> None:
    for backend, files in FILES.items():
        save(classifier(backend, CLASSES), tmp_path / "whole" / files[0])
    trees = (tmp_path / "whole" / "model.txt").read_bytes()
    booster = (tmp_path / "whole" / "model.ubj").read_bytes()
    cases = {
        "empty-trees": (
            "model.txt",
            b"",
            "model.txt cannot be loaded: Unknown model format or submodel type",
        ),
        # LightGBM ends the process with this one, by signal 6 or 11.
        "cut-trees": ("model.txt", trees[:900], "model.txt: its process ended (signal "),
        "empty-booster": (
            "model.ubj",
            b"",
            "model.ubj cannot be loaded: Invalid model format in: `model.ubj`",
        ),
        "cut-booster": ("model.ubj", booster[:900], "model.ubj cannot be loaded: "),
        "halved-booster": (
            "model.ubj",
            booster[: len(booster) // 2],
            "model.ubj cannot be loaded; it may be cut off, damaged, or in another format",
        ),
        "foreign": (
            "model.json",
            b'{"a": 1}',
            "model.json cannot be loaded: Invalid cast, from Null to Object",
        ),
    }
    for name, (file, content, _) in cases.items():
        write_model(tmp_path / "models", name, "", {f"1/{file}": content})
    write_model(tmp_path / "models", "good", "", {"1/model.ubj": booster})
    async with running_pod(tmp_path / "models") as pod:
        for name, (_, _, expected) in cases.items():
            model = pod.models.get(name)
            assert (model.serves, model.reason[: len(expected)]) == (False, expected)
            assert "cut off" in model.reason
        assert pod.models.serves("good")


async def test_predict_finds_class_and_confidence(tmp_path: Path) -> None:
    models = {backend: classifier(backend, CLASSES) for backend in FILES}
    for backend, model in models.items():
        write_model(tmp_path, backend, "")
        save(model, tmp_path / backend / "1" / FILES[backend][0])
    async with running_hub(tmp_path) as hub:
        for backend, model in models.items():
            body = {"model_name": backend, "features": ROWS[3].tolist()}
            status, answer, _ = await hub.post("/predict", body)
            (expected,) = model.predict_proba(ROWS[3:4])
            assert (status, answer["class_id"], answer["error"]) == (200, int(np.argmax(expected)), "")
            assert answer["confidence"] == pytest.approx(expected.max())


@pytest.mark.long
@pytest.mark.parametrize("backend", FILES)
async def test_the_only_feature_may_be_a_scalar(tmp_path: Path, backend: str) -> None:
    config = 'max_batch_size: 8 input { name: "x" dims: [ 1 ] reshape { shape: [ ] } }'
    library: Any = lightgbm.LGBMRegressor if backend == "lightgbm" else xgboost.XGBRegressor
    model = library(n_estimators=5, n_jobs=1).fit(ROWS[:, :1], NUMBERS)
    save(model, version(tmp_path) / FILES[backend][0])
    async with loaded(source_of(tmp_path, FILES[backend][0], config)) as served:
        assert np.array_equal((await served(ROWS[:8, 0]))["variable"].ravel(), model.predict(ROWS[:8, :1]))
