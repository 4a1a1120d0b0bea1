"""PyTorch models from a file, in processes: ExportedProgram and TorchScript. It imports `runtime.py`, `from_file.py`, `python` and `support`."""
