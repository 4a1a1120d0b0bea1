"""Writes the models that test_exported.py asks, as the libraries export them, and what each must answer.

    pip install scikit-learn skl2onnx lightgbm xgboost onnxmltools
    python tests/gateway/http_api/exported/export.py

The classifiers learn iris. `answers.json` has, for three rows of it, the label that each library itself gives, and the
probability in the column of that label. The other models are the smallest ones with outputs of their kind. Seen with
scikit-learn 1.9.1, skl2onnx 1.20.0, lightgbm 4.7.0, xgboost 3.2.0 and onnxmltools 1.16.0.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

HERE = Path(__file__).parent
OPSET, IR_VERSION = 15, 8  # read by onnxruntime 1.14 and later
ROWS = (0, 60, 120)  # one of each class
# Where the class of a support vector machine, a vote, is not the one with the highest probability.
DISPUTED = ([7.9, 3.9, 3.9, 1.1], [4.7, 4.2, 5.0, 2.1])
NAMES = np.array(["setosa", "versicolor", "virginica"])
SMALL = {"n_estimators": 2, "max_depth": 2, "random_state": 1}

x, y = load_iris(return_X_y=True)
x = x.astype(np.float32)
FLOAT = [("input", FloatTensorType([None, 4]))]
answers: dict[str, list[list[Any]]] = {}


def write(name: str, model: Any) -> None:
    """Write a model."""
    model.ir_version = IR_VERSION
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def classifier(name: str, model: Any, labels: Any, rows: slice = slice(None), asked: Any = None) -> None:
    """Train a classifier on some rows, write it, and note its own answers."""
    model.fit(x[rows], labels[rows])
    chosen = x[[row for row in ROWS if row < len(x[rows])]] if asked is None else asked
    columns = list(model.classes_)
    answers[name] = [
        [[round(value, 4) for value in row.tolist()], label, round(float(shares[columns.index(label)]), 7)]
        for row, label, shares in zip(
            chosen, model.predict(chosen).tolist(), model.predict_proba(chosen), strict=True
        )
    ]
    if isinstance(model, LGBMClassifier):
        write(name, convert_lightgbm(model, initial_types=FLOAT, zipmap=False, target_opset=OPSET))
    elif isinstance(model, XGBClassifier):
        write(name, convert_xgboost(model, initial_types=FLOAT, target_opset=OPSET))
    else:
        write(name, to_onnx(model, x[:1], options={"zipmap": False}, target_opset=OPSET))


def reshaped(name: str, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> None:
    """Write a model that gives its first input in the shape of each output."""
    values = {
        key: helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
        for key, shape in (inputs | outputs).items()
    }
    nodes, constants = [], []
    for key, shape in outputs.items():
        target = helper.make_tensor(f"to_{key}", TensorProto.INT64, [len(shape)], [
            {"n": -1, "k": 0}.get(dim, dim) for dim in shape
        ])  # fmt: skip
        constants.append(target)
        nodes.append(helper.make_node("Reshape", [next(iter(inputs)), target.name], [key]))
    graph = helper.make_graph(
        nodes, name, [values[key] for key in inputs], [values[key] for key in outputs], constants
    )
    write(name, helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def main() -> None:
    """Write all."""
    two = slice(0, 100)
    classifier("logistic", LogisticRegression(max_iter=500), y)
    classifier("logistic-text", LogisticRegression(max_iter=500), NAMES[y])
    classifier("logistic-10-20-30", LogisticRegression(max_iter=500), y * 10 + 10)
    classifier("logistic-1-2-3", LogisticRegression(max_iter=500), y + 1)
    classifier("logistic-two", LogisticRegression(), y, two)
    classifier("tree-minus-plus", DecisionTreeClassifier(max_depth=2), y * 2 - 1, two)
    disputed, vote = np.array(DISPUTED, np.float32), SVC(probability=True, random_state=1, C=0.02)
    classifier("svc-votes", vote, y + 1, asked=disputed)
    classifier("svc-votes-text", vote, NAMES[y], asked=disputed)
    classifier("bayes-1-2-3", GaussianNB(), y + 1)
    classifier("pipeline", make_pipeline(StandardScaler(), LogisticRegression()), y)
    classifier("mlp", MLPClassifier((8,), max_iter=300, random_state=1), y)
    classifier("lightgbm", LGBMClassifier(**SMALL, verbose=-1), y)
    classifier("lightgbm-text", LGBMClassifier(**SMALL, verbose=-1), NAMES[y])
    classifier("lightgbm-two", LGBMClassifier(**SMALL, verbose=-1), y, two)
    classifier("xgboost", XGBClassifier(**SMALL), y)
    classifier("xgboost-two", XGBClassifier(**SMALL), y, two)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in answers.items())
    (HERE / "answers.json").write_text(f"{{\n{lines}\n}}\n")

    write("mixture", to_onnx(GaussianMixture(3, random_state=1).fit(x), x[:1], target_opset=OPSET))
    write("regression", to_onnx(LinearRegression().fit(x, y), x[:1], target_opset=OPSET))
    two_targets = np.stack([y, 2 * y], 1)
    write("two-regressions", to_onnx(LinearRegression().fit(x, two_targets), x[:1], target_opset=OPSET))
    write("kmeans", to_onnx(KMeans(3, random_state=1).fit(x), x[:1], target_opset=OPSET))
    write("outliers", to_onnx(OneClassSVM(nu=0.05).fit(x), x[:1], target_opset=OPSET))
    several = np.stack([y == 0, y > 0], 1).astype(int)
    multi = MLPClassifier((4,), max_iter=100, random_state=1).fit(x, several)
    write("multi-label", to_onnx(multi, x[:1], options={"zipmap": False}, target_opset=OPSET))

    row: dict[str, list[Any]] = {"x": ["n", 4]}
    reshaped("logits", row, {"logits": ["n", 4]})
    reshaped("any-columns", {"x": ["n", "k"]}, {"output": ["n", "k"]})
    reshaped("image-scores", row, {"softmaxout_1": ["n", 4, 1, 1]})
    reshaped("sigmoid", row, {"probability": ["n", 1]})
    reshaped("embedding", row, {"sentence_embedding": ["n", 4]})
    reshaped("token-logits", row, {"logits": ["n", 2, 2]})
    reshaped("segmentation", row, {"output": ["n", 2, 2, 1]})
    reshaped("hidden-and-pooled", row, {"last_hidden_state": ["n", 2, 2], "pooler_output": ["n", 4]})
    reshaped("two-inputs", {"x": ["n", 4], "y": ["n", 4]}, {"probabilities": ["n", 4]})


if __name__ == "__main__":
    main()
