"""SavedModels of TensorFlow, in processes. It imports `runtime.py`, `from_file.py`, `python` and `support`."""
