"""The sum as external.metrics.k8s.io: the API, its callers, its certificate and its place in the cluster. Imports `demand` and `kube.py`."""
