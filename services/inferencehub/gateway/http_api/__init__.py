"""HTTP for callers: routes, endpoints that answer at once or as a stream, errors, the access line. The top of the gateway; only `server.py` imports it."""
