"""gRPC for gateways and callers: the protocol's methods, standing streams and health. This is the top layer of the pod; only `inference/server.py` imports it."""
