"""The gateway: HTTP and JSON in, gRPC out; no model libraries. Imports core alone; no other tier imports it."""
