"""Calls that models make of other models: the way to the gateway, and which of them run. `runtime.py`, `python`, checks and the service's start import it."""
