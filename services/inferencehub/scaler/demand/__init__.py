"""Asks all gateways for their demand, and sums it. It imports core and `scaler/kube.py`; `metrics_api` and `scaler/activator.py` read the sum."""
