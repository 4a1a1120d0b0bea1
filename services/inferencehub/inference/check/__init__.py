"""`inferencehub check`: loads models as a pod does, calls each once, says what was found. Imports `models`; `__main__` uses it."""
