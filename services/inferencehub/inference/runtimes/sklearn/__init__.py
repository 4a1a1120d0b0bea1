"""scikit-learn models from a file, in the processes of `python`. It imports `runtime.py`, `python` and `support`."""
