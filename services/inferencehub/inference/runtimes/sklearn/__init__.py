"""scikit-learn models from a file, in processes. It imports `runtime.py`, `from_file.py`, `python` and `support`."""
