"""scikit-learn models: their answers are the library's own, whatever the estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import TensorSpec
from tests.hub import running_hub
from tests.inference.runtimes.tables import CLASSES, NUMBERS, ROWS, Loaded, loaded, source_of, version

TEXTS = ["a good film", "a bad film", "good and bad", "fine", "awful", "good good", "bad bad"]
MOODS = np.array(["up", "down", "mixed", "up", "down", "up", "down"])
TABLE = pd.DataFrame(
    {"age": [1.0, 20.0, 30.0, 4.0, 50.0, 6.0], "city": ["Ulm", "Bonn", "Ulm", "Kiel", "Bonn", "Ulm"]}
)
# What skops does not trust by itself: compiled code that would run with whatever a file says.
NAMED = "sklearn.tree._tree.Tree, sklearn.neighbors._kd_tree.KDTree, sklearn.metrics._dist_metrics.EuclideanDistance64"
NAMED += ", sklearn.metrics._scorer._PassthroughScorer, sklearn.model_selection._split.StratifiedKFold"
INPUT = TensorSpec("input", "FP64", (-1, 4))


def saved(repository: Path, estimator: Any, config: str = "", trusted: str = "") -> Any:
    """A model whose file was written by skops."""
    skops.io.dump(estimator, version(repository) / "model.skops")
    parameter = (
        f'parameters {{ key: "trusted_types" value {{ string_value: "{trusted}" }} }}' if trusted else ""
    )
    return loaded(source_of(repository, "model.skops", config + parameter))


def outputs(model: Loaded) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in model.signature.outputs]


@pytest.mark.long
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        RandomForestClassifier(10, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
        KNeighborsClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
async def test_a_classifier_gives_labels_and_probabilities(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(ROWS, CLASSES)
    async with saved(tmp_path, estimator, trusted=NAMED) as model:
        assert model.signature.inputs == (INPUT,)
        assert outputs(model) == [("label", "INT64", (-1,)), ("probabilities", "FP64", (-1, 3))]
        answer = await model(ROWS)
        assert np.array_equal(answer["label"], estimator.predict(ROWS))
        assert np.array_equal(answer["probabilities"], estimator.predict_proba(ROWS))
        assert model.runtime.source.config.parameters["predict_classes"].string_value == "0,1,2"


async def test_texts_go_in_and_text_labels_come_out(tmp_path: Path) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, MOODS)
    async with saved(tmp_path, pipeline) as model:
        assert model.signature.inputs == (TensorSpec("input", "BYTES", (-1, 1)),)
        assert outputs(model) == [("label", "BYTES", (-1,)), ("probabilities", "FP64", (-1, 3))]
        texts = np.array([["good"], ["schön"], [""]], dtype=object)
        answer = await model(texts)
        asked = texts.ravel()
        assert [label.decode() for label in answer["label"]] == pipeline.predict(asked).tolist()
        assert np.array_equal(answer["probabilities"], pipeline.predict_proba(asked))
        assert model.runtime.source.config.parameters["predict_classes"].string_value == "down,mixed,up"
        with pytest.raises(HubError) as caught:
            await model(np.array([[b"good"], [b"\xff"]], dtype=object))
        assert caught.value.kind is Kind.BAD_INPUT
        assert caught.value.detail == "model 'm': element [1, 0] of input 'input' is no text in UTF-8"


BATCHED = "max_batch_size: 8 "
A_TEXT = 'input { name: "input" data_type: TYPE_STRING dims: [ 1 ] }'
A_SCALAR = 'input { name: "input" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } }'


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "estimator"),
    [
        ("", make_pipeline(make_union(TfidfVectorizer(), CountVectorizer()), LogisticRegression())),
        ("", CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LinearSVC()), cv=2)),
        (BATCHED + A_TEXT, make_pipeline(FunctionTransformer(), TfidfVectorizer(), LogisticRegression())),
        (BATCHED + A_SCALAR, make_pipeline(FunctionTransformer(), TfidfVectorizer(), LogisticRegression())),
    ],
    ids=["union", "calibrated", "declared", "reshaped"],
)
async def test_texts_may_go_in_by_another_way(tmp_path: Path, config: str, estimator: Any) -> None:
    estimator.fit(TEXTS * 2, np.array(["up", "down"] * 7))
    async with saved(tmp_path, estimator, config, trusted_by(estimator, tmp_path)) as model:
        (spec,) = model.signature.inputs
        assert spec.dtype == "BYTES"
        texts = np.array(["good", "bad"], dtype=object)
        answer = await model(texts.reshape(2, 1) if len(spec.shape) == 2 else texts)
        assert [label.decode() for label in answer["label"]] == estimator.predict(texts).tolist()
        assert np.array_equal(answer["probabilities"], estimator.predict_proba(texts))


@pytest.mark.long
async def test_a_regression_gives_numbers(tmp_path: Path) -> None:
    one = LinearRegression().fit(ROWS, NUMBERS)
    async with saved(tmp_path / "one", one) as model:
        assert outputs(model) == [("variable", "FP64", (-1, 1))]
        assert np.array_equal((await model(ROWS))["variable"].ravel(), one.predict(ROWS))
    two = LinearRegression().fit(ROWS, np.c_[NUMBERS, -NUMBERS])
    async with saved(tmp_path / "two", two) as model:
        assert outputs(model) == [("variable", "FP64", (-1, 2))]
        assert np.array_equal((await model(ROWS))["variable"], two.predict(ROWS))


@pytest.mark.long
async def test_what_is_no_classifier_and_no_regression(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(ROWS)
    async with saved(tmp_path / "scaler", scaler) as model:
        assert outputs(model) == [("variable", "FP64", (-1, -1))]
        assert np.array_equal((await model(ROWS))["variable"], scaler.transform(ROWS))
    for name, estimator in (
        ("k", KMeans(3, random_state=0)),
        ("i", IsolationForest(n_estimators=10, random_state=0)),
    ):
        estimator.fit(ROWS)
        async with saved(tmp_path / name, estimator, trusted=NAMED) as model:
            assert outputs(model) == [("label", "INT64", (-1,))]
            assert np.array_equal((await model(ROWS))["label"], estimator.predict(ROWS))
    margin = LinearSVC().fit(ROWS, CLASSES)
    async with saved(tmp_path / "margin", margin) as model:
        assert outputs(model) == [("label", "INT64", (-1,))]


@pytest.mark.long
async def test_labels_that_are_true_or_whole_floats_are_integers(tmp_path: Path) -> None:
    for name, classes in (("bool", CLASSES > 0), ("float", np.where(CLASSES > 0, 20.0, -1.0))):
        estimator = LogisticRegression().fit(ROWS, classes)
        async with saved(tmp_path / name, estimator) as model:
            assert np.array_equal((await model(ROWS))["label"], estimator.predict(ROWS).astype(int))


@pytest.mark.long
async def test_columns_of_a_table_are_inputs_where_the_config_says_so(tmp_path: Path) -> None:
    columns = make_column_transformer(
        (StandardScaler(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(TABLE, [0, 1, 0, 1, 1, 0])
    config = """max_batch_size: 16
        input { name: "city" data_type: TYPE_STRING dims: [ 1 ] }
        input { name: "age" data_type: TYPE_FP64 dims: [ 1 ] }"""
    async with saved(tmp_path, pipeline, config) as model:
        cities, ages = TABLE[["city"]].to_numpy(object), TABLE[["age"]].to_numpy()
        answer = await model(cities, ages)
        assert np.array_equal(answer["label"], pipeline.predict(TABLE))
        assert np.array_equal(answer["probabilities"], pipeline.predict_proba(TABLE))
        unknown = (await model(np.array([["Rom"]], dtype=object), np.array([[3.0]])))["label"]
        assert unknown == pipeline.predict(pd.DataFrame({"age": [3.0], "city": ["Rom"]}))


CATEGORIES = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())


@pytest.mark.parametrize(
    ("table", "config", "says"),
    [
        (TABLE, "", "rows of 'input' FP64 "),
        (
            TABLE,
            """input { name: "city" data_type: TYPE_FP64 dims: [ -1, 1 ] }
            input { name: "age" data_type: TYPE_FP64 dims: [ -1, 1 ] }""",
            "rows of 'city' FP64, 'age' FP64 ",
        ),
        (TABLE, "", "one input for each column, those of text with TYPE_STRING: age, city"),
        (TABLE[["city"]].to_numpy(object), "", "one input of TYPE_STRING if all columns are text"),
    ],
)
async def test_columns_of_text_that_the_config_does_not_declare_are_told_of_at_load(
    tmp_path: Path, table: Any, config: str, says: str
) -> None:
    """Each call would fail with 500 in their place."""
    with pytest.raises(HubError) as caught:
        async with saved(tmp_path, CATEGORIES.fit(table, [0, 1] * 3), config):
            pass
    assert says in caught.value.detail


async def test_an_estimator_to_which_a_row_of_zeros_is_unknown_loads(tmp_path: Path) -> None:
    pipeline = make_pipeline(OneHotEncoder(), LogisticRegression()).fit([[1], [2]], [0, 1])
    async with saved(tmp_path, pipeline) as model:
        assert (await model(np.array([[2.0]])))["label"] == [1]
        with pytest.raises(HubError) as caught:
            await model(np.array([[0.0]]))
        assert caught.value.kind is Kind.BAD_INPUT


@pytest.mark.long
async def test_one_input_fills_the_columns_of_a_table_in_their_order(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=list("abcd"))
    pipeline = make_pipeline(make_column_transformer((StandardScaler(), ["d", "a"])), LogisticRegression())
    pipeline.fit(table, CLASSES)
    async with saved(tmp_path, pipeline) as model:
        assert model.signature.inputs == (INPUT,)
        assert np.array_equal((await model(ROWS))["probabilities"], pipeline.predict_proba(table))


@pytest.mark.long
async def test_a_config_names_the_input_and_chooses_types_and_outputs(tmp_path: Path) -> None:
    estimator = LogisticRegression().fit(ROWS, CLASSES)
    config = """input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
        output { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 3 ] }"""
    async with saved(tmp_path, estimator, config) as model:
        assert model.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
        expected = estimator.predict_proba(ROWS.astype(np.float32)).astype(np.float32)
        answer = await model(ROWS)
        assert list(answer) == ["probabilities"]
        assert np.array_equal(answer["probabilities"], expected)


@pytest.mark.long
async def test_an_input_that_scikit_learn_refuses_is_the_caller_s_fault(tmp_path: Path) -> None:
    async with saved(tmp_path, LogisticRegression().fit(ROWS, CLASSES)) as model:
        for value in (np.nan, np.inf):
            with pytest.raises(HubError) as caught:
                await model(np.full((1, 4), value))
            assert caught.value.kind is Kind.BAD_INPUT
            assert caught.value.detail.startswith("model 'm': Input X contains ")
        with pytest.raises(HubError) as caught:
            await model(np.zeros((1, 3)))
        assert "has shape [1, 3], expected [-1, 4]" in caught.value.detail
        assert (await model(ROWS[:2]))["label"].shape == (2,)


@pytest.mark.long
async def test_predict_finds_class_label_and_confidence(tmp_path: Path) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, MOODS)
    skops.io.dump(pipeline, version(tmp_path) / "model.skops")
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/predict", {"model_name": "m", "text": "a bad film"})
        assert status == 200, answer
        (expected,) = pipeline.predict_proba(["a bad film"])
        assert (answer["class_id"], answer["label"], answer["error"]) == (0, "down", "")
        assert answer["confidence"] == pytest.approx(expected[0])


@pytest.mark.long
async def test_classes_in_another_order_than_the_files_are_refused(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit(ROWS, np.where(CLASSES > 0, "yes", "no"))
    listed = 'parameters {{ key: "predict_classes" value {{ string_value: "{}" }} }}'
    async with saved(tmp_path, fitted, listed.format("no, yes")):
        pass
    with pytest.raises(HubError) as caught:
        async with saved(tmp_path, fitted, listed.format("yes,no")):
            pass
    assert caught.value.detail == (
        "config.pbtxt: predict_classes lists ['yes', 'no'], the model's classes are ['no', 'yes']"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsRegressor(algorithm="brute"),
        MultiOutputRegressor(LinearRegression()),
        RegressorChain(LinearRegression()),
        TransformedTargetRegressor(LinearRegression()),
        GridSearchCV(make_pipeline(StandardScaler(), LinearRegression()), {}, cv=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
async def test_a_regression_may_give_several_numbers_a_row(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(ROWS, np.stack([NUMBERS, -NUMBERS, ROWS[:, 0]], axis=1))
    async with saved(tmp_path, estimator, trusted=trusted_by(estimator, tmp_path)) as model:
        assert outputs(model) == [("variable", "FP64", (-1, 3))]
        assert np.array_equal((await model(ROWS))["variable"], estimator.predict(ROWS))


@pytest.mark.long
@pytest.mark.parametrize(
    "estimator",
    [
        OneVsRestClassifier(LogisticRegression()),
        MLPClassifier((4,), max_iter=300, tol=0.1),
        make_pipeline(StandardScaler(), RidgeClassifier()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
async def test_a_classifier_may_give_several_labels_a_row(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(ROWS, (ROWS[:, :3] > 0).astype(int))
    async with saved(tmp_path, estimator, trusted=trusted_by(estimator, tmp_path)) as model:
        assert outputs(model) == [("label", "INT64", (-1, 3))]
        assert np.array_equal((await model(ROWS))["label"], estimator.predict(ROWS))


def trusted_by(estimator: Any, directory: Path) -> str:
    """The types of an estimator that skops does not trust by itself."""
    skops.io.dump(estimator, directory / "all.skops")
    return ",".join(skops.io.get_untrusted_types(file=directory / "all.skops"))


@pytest.mark.long
async def test_the_only_feature_may_be_a_scalar(tmp_path: Path) -> None:
    config = 'max_batch_size: 8 input { name: "x" dims: [ 1 ] reshape { shape: [ ] } }'
    fitted = LinearRegression().fit(ROWS[:, :1], NUMBERS)
    async with saved(tmp_path, fitted, config) as model:
        assert np.array_equal((await model(ROWS[:8, 0]))["variable"].ravel(), fitted.predict(ROWS[:8, :1]))
