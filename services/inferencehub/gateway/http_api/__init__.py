"""HTTP for callers: routes, endpoints, errors and the access line. The top of the gateway; only `server.py` imports it."""
