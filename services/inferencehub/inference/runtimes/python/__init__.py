"""Models that are a user's own Python: one process for each instance. It imports `runtime.py`, `loaded_files.py`, `calling` and `support`."""
