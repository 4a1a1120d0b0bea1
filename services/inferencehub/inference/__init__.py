"""The inference service: gRPC in, models inside. Imports core alone; no other tier imports it."""
