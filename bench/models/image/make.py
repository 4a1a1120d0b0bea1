"""Writes 1/model.onnx: the mean over the height and width of x, for each colour.

pip install onnx
python bench/models/image/make.py
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

OPSET, IR_VERSION = 17, 8  # read by onnxruntime 1.14 and later
MODEL = Path(__file__).parent / "1" / "model.onnx"


def main() -> None:
    """x FP32 [-1, 3, 224, 224] -> means FP32 [-1, 3]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0)],
        "image",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["batch", 3])],
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
