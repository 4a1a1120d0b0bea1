"""The demand that all gateways report, asked for and summed. Imports core and `kube.py`; `metrics_api` and `activator.py` read it."""
