"""The HTTP API: routes, endpoints, errors and access lines. The top of the gateway; only `server.py` imports it."""
