"""The gateway: HTTP and JSON in, gRPC out; no model and no model library. Imports core alone; no other tier imports it."""
