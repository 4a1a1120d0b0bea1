"""gRPC for gateways and callers: the protocol's methods, standing streams and health. The top of the pod; only `server.py` imports it."""
