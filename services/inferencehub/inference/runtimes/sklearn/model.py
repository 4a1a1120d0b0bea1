"""A fitted estimator as a Python model: what the process of an instance loads and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

from inferencehub.core.values.errors import bad_input, listed
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.python.channel import Load, Ready
from inferencehub.inference.runtimes.sklearn.file import TRUSTED, read_estimator
from inferencehub.inference.runtimes.sklearn.signature import (
    classes_of,
    label_dtype,
    signature_of,
    takes_texts,
)
from inferencehub.inference.runtimes.sklearn.version import written
from inferencehub.inference.runtimes.support.error_text import named
from inferencehub.inference.runtimes.support.tables import (
    LABEL,
    PROBABILITIES,
    VARIABLE,
    class_names,
    listed_classes,
)
from inferencehub.pb import model_config_pb2 as config_pb

Array = npt.NDArray[Any]


class Model:
    """An estimator that answers calls, as `python/worker.py` runs it.

    Args:
        load: where its file is, and its config.

    Raises:
        HubError: if the file cannot be served, or does not agree with the config.
        Exception: whatever the library raises for a file that it cannot read.
    """

    def __init__(self, load: Load) -> None:
        config = config_pb.ModelConfig.FromString(load.config)
        trusted = {name.strip() for name in load.parameters.get(TRUSTED, "").split(",")}
        file = Path(load.directory) / load.file
        with written(file) as version:
            self.estimator = read_estimator(file, trusted)
        signature = signature_of(config, self.estimator)
        classes = class_names(classes_of(self.estimator))
        if classes and (listed := listed_classes(config)) and listed != [*classes]:
            raise bad_input(
                f"config.pbtxt: predict_classes lists {listed}, the model's classes are {[*classes]}"
            )
        self.ready = Ready(signature.inputs, signature.outputs, classes, str(version))
        self.names = {spec.name for spec in signature.outputs}
        self.texts = takes_texts(config, self.estimator)
        self.features = getattr(self.estimator, "feature_names_in_", None)
        self.by_name = len(signature.inputs) > 1
        self.label = label_dtype(self.estimator)
        # The steps before the last one run once, though both the label and the probabilities need what they give.
        self.before, self.last = None, self.estimator
        if isinstance(self.estimator, Pipeline) and len(self.estimator) > 1:
            self.before, self.last = self.estimator[:-1], self.estimator[-1]
            if self.last == "passthrough":
                self.before, self.last = None, self.estimator
        if not self.texts:
            self._try_types(signature.inputs)

    def predict(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The outputs for rows of features or texts.

        Raises:
            ValueError: what scikit-learn says of an input that it does not take, such as one with NaN.
        """
        rows = self._rows(inputs)
        if self.before is not None:
            rows = self.before.transform(rows)
        outputs = {}
        if LABEL in self.names:
            outputs[LABEL] = self._labels(self.last.predict(rows))
        if PROBABILITIES in self.names:
            outputs[PROBABILITIES] = self.last.predict_proba(rows)
        if VARIABLE in self.names:
            run = self.last.predict if hasattr(self.last, "predict") else self.last.transform
            outputs[VARIABLE] = dense(run(rows))
        return outputs

    def _try_types(self, specs: tuple[TensorSpec, ...]) -> None:
        """Run one row of zeros and empty texts: a file does not say which columns are text, and then every call would fail.

        Raises:
            HubError: BAD_INPUT that says how to declare the columns, if their types do not fit the inputs.
        """
        if any(-1 in spec.shape[1:] for spec in specs):
            return
        fills = {spec.name: (b"", object) if spec.dtype == "BYTES" else (0, np.float64) for spec in specs}
        try:
            self.predict({spec.name: np.full((1, *spec.shape[1:]), *fills[spec.name]) for spec in specs})
        except (TypeError, AttributeError) as error:
            how = "one input of TYPE_STRING if all columns are text; for text beside numbers, fit it with a DataFrame"
            if self.features is not None:
                how = f"one input for each column, those of text with TYPE_STRING: {listed(self.features)}"
            inputs = listed(f"'{spec.name}' {spec.dtype}" for spec in specs)
            raise bad_input(
                f"the model does not take rows of {inputs} ({named(error)}); declare in config.pbtxt {how}"
            ) from None
        except ValueError:
            pass  # such values may be out of its range

    def _rows(self, inputs: dict[str, Array]) -> Any:
        """The inputs as the estimator wants them: texts, an array, or a DataFrame if it was fitted with one."""
        columns = {name: text(name, array) for name, array in inputs.items()}
        first = next(iter(columns.values()))
        if self.texts:
            return first.ravel()
        if first.ndim == 1 and not self.by_name:  # the only feature as a scalar
            first = first[:, None]
        if self.features is None:
            return first
        import pandas as pd

        if self.by_name:
            return pd.DataFrame({name: columns[name].ravel() for name in self.features})
        return pd.DataFrame(first, columns=self.features)

    def _labels(self, labels: Array) -> Array:
        """Labels in the type of the output: true and 1.0 are 1 where this is INT64."""
        return labels.astype(np.int64) if self.label == "INT64" else labels


def text(name: str, array: Array) -> Array:
    """An array of bytes as one of text; any other array as it is.

    Raises:
        ValueError: that names the first element that is not UTF-8.
    """
    if array.dtype != object:
        return array
    texts = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel().tolist()):
        try:
            texts[index] = element.decode()
        except UnicodeDecodeError:
            where = [int(number) for number in np.unravel_index(index, array.shape)]
            raise ValueError(f"element {where} of input '{name}' is no text in UTF-8") from None
    return texts.reshape(array.shape)


def dense(array: Any) -> Array:
    """An array, also of a sparse matrix or a DataFrame."""
    return np.asarray(array.toarray() if hasattr(array, "toarray") else array)
