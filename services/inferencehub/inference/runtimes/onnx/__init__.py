"""ONNX models, run by onnxruntime. It imports `runtime.py` and `support`."""
