"""The inference service: gRPC in, models inside. It imports only core; no other tier imports it."""
