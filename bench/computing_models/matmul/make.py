"""Writes 1/model.onnx: x, spread over HEIGHT x WIDTH numbers, times a matrix that averages them, and averaged again.

    pip install onnx
    python bench/computing_models/matmul/make.py

What comes out is x again and 0.5, so the right class is known as it is for `three`; 2 * 3 * HEIGHT * WIDTH**2
floating-point operations a row lie between. The matrix is made when the model is loaded, so the file is small.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 128, 512
OPSET, IR_VERSION = 17, 8  # read by onnxruntime 1.14 and later
MODEL = Path(__file__).parent / "1" / "model.onnx"


def main() -> None:
    """x FP32 [-1, 3] -> scores FP32 [-1, 4]."""
    constants = {
        "last": np.array([2], np.int64),
        "spread": np.array([1, 3, HEIGHT * WIDTH], np.int64),
        "tall": np.array([0, 3 * HEIGHT, WIDTH], np.int64),
        "flat": np.array([0, 3, HEIGHT * WIDTH], np.int64),
        "square": np.array([WIDTH, WIDTH], np.int64),
        "weights": np.eye(3, 4, dtype=np.float32),
        "bias": np.array([0.0, 0.0, 0.0, 0.5], np.float32),
    }
    share = numpy_helper.from_array(np.array([1 / WIDTH], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["square"], ["matrix"], value=share),
        helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
        helper.make_node("Expand", ["column", "spread"], ["wide"]),
        helper.make_node("Reshape", ["wide", "tall"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["products"]),
        helper.make_node("Reshape", ["products", "flat"], ["again"]),
        helper.make_node("ReduceMean", ["again"], ["means"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
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
