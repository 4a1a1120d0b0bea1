"""Trains the digits model from scikit-learn's bundled digits and writes it as ONNX.

    pip install scikit-learn onnx
    python models/digits/train.py [--held-out PATH]

A perceptron with one hidden layer reads 64 pixels (8x8, 0 white to 16 black) and gives ten probabilities;
scaling and softmax are part of the graph, so a caller sends unscaled pixels. Seeds are fixed: the same
versions of the libraries write the same bytes.

Accuracy on the held-out fifth (360 rows, stratified): 0.9861, seen with scikit-learn 1.9.1, onnx 1.23.2 and
numpy 2.4.6.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 7
HIDDEN = 64
BRIGHTEST = 16.0
OPSET, IR_VERSION = 17, 8  # read by onnxruntime 1.14 and later
HELD_OUT_ROWS = 20
MODEL = Path(__file__).parent / "1" / "model.onnx"


def to_onnx(network: MLPClassifier) -> onnx.ModelProto:
    """input FP32 [-1, 64] -> probabilities FP32 [-1, 10]."""
    (hidden_weights, output_weights), (hidden_bias, output_bias) = network.coefs_, network.intercepts_
    constants = {
        "scale": np.array(1 / BRIGHTEST),
        "hidden_weights": hidden_weights,
        "hidden_bias": hidden_bias,
        "output_weights": output_weights,
        "output_bias": output_bias,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "scale"], ["pixels"]),
            helper.make_node("Gemm", ["pixels", "hidden_weights", "hidden_bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "output_weights", "output_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="inferencehub"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    arguments = argparse.ArgumentParser(description="Trains and writes the digits model.")
    arguments.add_argument(
        "--held-out", type=Path, help="also write some held-out rows (64 pixels, digit) here"
    )
    chosen = arguments.parse_args()

    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, digits, test_size=0.2, stratify=digits, random_state=SEED
    )
    network = MLPClassifier((HIDDEN,), alpha=0.01, max_iter=400, random_state=SEED)
    network.fit(train_x / BRIGHTEST, train_y)
    print(f"held-out accuracy {network.score(test_x / BRIGHTEST, test_y):.4f} on {len(test_y)} rows")

    MODEL.parent.mkdir(exist_ok=True)
    MODEL.write_bytes(to_onnx(network).SerializeToString(deterministic=True))
    print(f"{MODEL.stat().st_size} bytes written to {MODEL}")

    if chosen.held_out:
        with chosen.held_out.open("w", newline="") as file:
            rows = np.column_stack([test_x, test_y])[:HELD_OUT_ROWS].astype(int)
            csv.writer(file, lineterminator="\n").writerows(rows.tolist())


if __name__ == "__main__":
    main()
