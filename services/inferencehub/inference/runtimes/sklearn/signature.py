"""The inputs and outputs of a fitted estimator, as far as it tells them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsRegressor, RadiusNeighborsRegressor
from sklearn.pipeline import FeatureUnion, Pipeline

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.runtimes.support.declared import model_shape, tensor_spec
from inferencehub.inference.runtimes.support.tables import (
    INPUT,
    LABEL,
    PROBABILITIES,
    VARIABLE,
    same_table,
    settled,
)
from inferencehub.pb import model_config_pb2 as config_pb

TEXT_STEPS = (CountVectorizer, HashingVectorizer)  # the first is TfidfVectorizer's class, too


def signature_of(config: config_pb.ModelConfig, estimator: Any) -> Signature:
    """The model's signature: what the estimator says, and what the config says about it.

    If the config has several inputs, each is a column of the table that the estimator was fitted with.

    Raises:
        HubError: BAD_INPUT if they do not agree.
    """
    outputs = outputs_of(estimator)
    features = list(getattr(estimator, "feature_names_in_", ()))
    names = [entry.name for entry in config.input]
    if not features or len(names) < 2:
        return settled(config, input_of(config, estimator), outputs)
    if sorted(names) != sorted(features):
        raise bad_input(
            f"config.pbtxt: inputs {names}, the model's columns are {features}, expected one input for each"
        )
    columns = tuple(tensor_spec(config, entry, "input") for entry in config.input)
    for spec in columns:
        if spec.shape not in ((-1,), (-1, 1)):
            raise bad_input(
                f"config.pbtxt: input '{spec.name}' has shape {list(spec.shape)}, expected [-1, 1]"
            )
    rest = config_pb.ModelConfig(max_batch_size=config.max_batch_size, output=config.output)
    chosen = settled(rest, columns[0], outputs)
    return Signature(columns, chosen.outputs, config.max_batch_size)


def input_of(config: config_pb.ModelConfig, estimator: Any) -> TensorSpec:
    """The one input: texts, or rows of features."""
    if takes_texts(config, estimator):
        return TensorSpec(INPUT, "BYTES", (-1, 1))
    given = config.input[0].data_type if config.input else config_pb.TYPE_FP64
    dtype = (
        "BYTES" if given == config_pb.TYPE_STRING else "FP64"
    )  # columns of text cannot be told from numbers
    return TensorSpec(INPUT, dtype, (-1, getattr(estimator, "n_features_in_", -1)))


def takes_texts(config: config_pb.ModelConfig, estimator: Any) -> bool:
    """Whether the estimator takes a list of texts: its first step says so, or the config does for one that counts no features."""
    if begins_with_texts(estimator):
        return True
    if hasattr(estimator, "n_features_in_") or len(config.input) != 1 or not config.input[0].dims:
        return False
    (entry,) = config.input
    return entry.data_type == config_pb.TYPE_STRING and same_table(model_shape(config, entry, "input"), (-1,))


def begins_with_texts(estimator: Any) -> bool:
    """Whether a vectorizer of texts comes first: in a pipeline, a search or a calibration, or side by side with others."""
    if isinstance(estimator, Pipeline):
        return begins_with_texts(estimator[0])
    if isinstance(estimator, FeatureUnion):
        return any(begins_with_texts(step) for _, step in estimator.transformer_list)
    if isinstance(estimator, CalibratedClassifierCV):
        return begins_with_texts(estimator.calibrated_classifiers_[0].estimator)
    if hasattr(estimator, "best_estimator_"):
        return begins_with_texts(estimator.best_estimator_)
    return isinstance(estimator, TEXT_STEPS)


def outputs_of(estimator: Any) -> list[TensorSpec]:
    """The outputs, the rows first."""
    if is_classifier(estimator):
        classes = estimator.classes_
        if several_labels(estimator):
            return [TensorSpec(LABEL, label_dtype(estimator), (-1, len(classes)))]
        outputs = [TensorSpec(LABEL, label_dtype(estimator), (-1,))]
        if hasattr(estimator, "predict_proba"):
            outputs.append(TensorSpec(PROBABILITIES, "FP64", (-1, len(classes))))
        return outputs
    if is_clusterer(estimator) or is_outlier_detector(estimator):
        return [TensorSpec(LABEL, "INT64", (-1,))]
    if hasattr(estimator, "predict"):
        return [TensorSpec(VARIABLE, "FP64", (-1, targets_of(estimator)))]
    if hasattr(estimator, "transform"):
        return [TensorSpec(VARIABLE, "FP64", (-1, -1))]
    raise bad_input(f"a {type(estimator).__name__} has neither predict nor transform")


def targets_of(estimator: Any) -> int:
    """How many numbers a regression gives a row; 1 if it does not tell."""
    last = last_step(estimator)
    if count := getattr(last, "n_outputs_", 0):
        return int(count)
    if isinstance(last, MultiOutputRegressor | RegressorChain):
        return len(last.estimators_)
    if isinstance(
        last, KNeighborsRegressor | RadiusNeighborsRegressor
    ):  # which keep the rows that they were fitted with
        return int(np.shape(last._y)[1]) if np.ndim(last._y) == 2 else 1
    shape = np.shape(getattr(last, "coef_", ()))
    return shape[0] if len(shape) == 2 else 1


def last_step(estimator: Any) -> Any:
    """What gives an estimator's output: in a search or a transformation of targets, and the last step of a pipeline."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, TransformedTargetRegressor):
            estimator = estimator.regressor_
        else:
            return estimator


def several_labels(estimator: Any) -> bool:
    """Whether a classifier gives each row several labels.

    It then has a list of classes for each, or, if each label is only there or not, a binarizer that has seen such.
    """
    if isinstance(estimator.classes_, list):
        return True
    last = last_step(estimator)
    binarizer = getattr(last, "label_binarizer_", getattr(last, "_label_binarizer", None))
    return str(getattr(binarizer, "y_type_", "")).startswith("multilabel")


def classes_of(estimator: Any) -> list[Any]:
    """The classes in the order of the columns of `predict_proba`; [] if it is no classifier of one label."""
    classes = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    return [] if classes is None or several_labels(estimator) else whole(classes).tolist()


def label_dtype(estimator: Any) -> str:
    """The type of a classifier's label: BYTES for text, INT64 for what is whole, also True and 1.0, else FP64."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return "INT64"
    array = whole(np.concatenate(classes) if isinstance(classes, list) else classes)
    return {"i": "INT64", "u": "INT64", "f": "FP64"}.get(array.dtype.kind, "BYTES")


def whole(classes: Any) -> Any:
    """Classes as integers if they are booleans or whole floats."""
    array = np.asarray(classes)
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and np.all(array == np.round(array))):
        return array.astype(np.int64)
    return array
