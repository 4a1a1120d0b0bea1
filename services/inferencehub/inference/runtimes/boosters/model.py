"""What models of boosted trees have in common: labels and probabilities of classifiers, numbers of all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.python.channel import Load, Ready
from inferencehub.inference.runtimes.support.error_text import first_line
from inferencehub.inference.runtimes.support.tables import (
    INPUT,
    LABEL,
    PROBABILITIES,
    VARIABLE,
    class_names,
    listed_classes,
    settled,
)
from inferencehub.pb import model_config_pb2 as config_pb

Array = npt.NDArray[Any]


class Boosted(ABC):
    """A booster that answers calls, as `python/worker.py` runs it.

    The file of a booster numbers its classes from 0. A config that lists others (`predict_classes`) gives them to `label`.

    Args:
        load: where its file is, and its config.
        features: how many features a row has.
        columns: how many numbers the booster gives a row.
        classes: how many classes there are; 0 if it is no classifier.
        dtype: the type of floats in and out, FP32 or FP64.

    Raises:
        HubError: BAD_INPUT if the file does not agree with the config.
    """

    def __init__(self, load: Load, features: int, columns: int, classes: int, dtype: str) -> None:
        config = config_pb.ModelConfig.FromString(load.config)
        self.columns = columns
        self.classes = labels_of(config, classes)
        if classes:
            label = "BYTES" if self.classes.dtype == object else "INT64"
            outputs = [TensorSpec(LABEL, label, (-1,)), TensorSpec(PROBABILITIES, dtype, (-1, classes))]
        else:
            outputs = [TensorSpec(VARIABLE, dtype, (-1, columns))]
        signature = settled(config, TensorSpec(INPUT, dtype, (-1, features)), outputs)
        self.ready = Ready(signature.inputs, signature.outputs, class_names(self.classes))

    @abstractmethod
    def scores(self, rows: Array) -> Array:
        """The booster's own prediction for at least one row: [rows], or [rows, columns]."""

    def predict(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The outputs for rows of features, in which NaN is a missing value."""
        (rows,) = inputs.values()
        if rows.ndim == 1:  # the only feature as a scalar
            rows = rows[:, None]
        scores = self.scores(rows) if len(rows) else np.zeros((0, self.columns), np.float32)
        if not len(self.classes):
            return {VARIABLE: scores}
        if self.columns == 1:  # the probability of the second class
            second = scores.ravel()
            scores = np.stack((1 - second, second), axis=1)
        return {LABEL: self.classes[np.argmax(scores, axis=1)], PROBABILITIES: scores}


def labels_of(config: config_pb.ModelConfig, count: int) -> Array:
    """The label of each class: those that the config lists, as integers if all are, or else 0, 1, ….

    Raises:
        HubError: BAD_INPUT if the config lists another number of classes.
    """
    listed = listed_classes(config) if count else []
    if not listed:
        return np.arange(count)
    if len(listed) != count:
        raise bad_input(f"config.pbtxt: predict_classes lists {len(listed)} classes, the model has {count}")
    try:
        return np.array([int(name) for name in listed], np.int64)
    except ValueError:
        return np.array(listed, object)


def unreadable(file: str, error: object) -> HubError:
    """The error for a file that its library does not read. What the library says of a cut file names no cause."""
    said = f": {line}" if (line := first_line(error)) else ""
    return HubError(
        Kind.MODEL_FAILED, f"{file} cannot be loaded{said}; it may be cut off, damaged, or in another format"
    )
