"""The gateway: HTTP and JSON in, gRPC out; no model. From the top: fronts (`http_api`), jobs on a queue (later), calls, routing, pods; `metrics.py` is for all. Imports core alone."""
