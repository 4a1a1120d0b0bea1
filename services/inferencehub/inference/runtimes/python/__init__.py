"""Models that are a user's own Python: one process for each instance. It imports `runtime.py` and `support`."""
