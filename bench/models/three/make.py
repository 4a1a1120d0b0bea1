"""Writes 1/model.onnx: the softmax of x times WEIGHTS plus BIAS.

    pip install onnx
    python bench/models/three/make.py

The class is the index of the largest of three positive numbers, or the last class if no number is above BIAS[3]. So
callers know the right class without running the model.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
BIAS = [0.0, 0.0, 0.0, 0.5]
OPSET, IR_VERSION = 17, 8  # read by onnxruntime 1.14 and later
MODEL = Path(__file__).parent / "1" / "model.onnx"


def main() -> None:
    """x FP32 [-1, 3] -> scores FP32 [-1, 4]."""
    constants = {"weights": WEIGHTS, "bias": BIAS}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="inferencehub"
    )
    onnx.checker.check_model(model, full_check=True)
    MODEL.parent.mkdir(exist_ok=True)
    MODEL.write_bytes(model.SerializeToString())
    print(f"wrote {MODEL.stat().st_size} bytes to {MODEL}")


if __name__ == "__main__":
    main()
