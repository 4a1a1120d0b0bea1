"""The gateway's gRPC port: the same calls as over HTTP, streams, health and reflection. Imports `calls` and what is below it; only `gateway/server.py` imports it."""
