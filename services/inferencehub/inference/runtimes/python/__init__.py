"""A user's own Python: a process for each instance. Imports `runtime.py` and `support`."""
