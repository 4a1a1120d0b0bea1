"""The metrics API external.metrics.k8s.io: its answers, callers, certificate, and registration in the cluster. It imports `demand` and `scaler/kube.py`."""
