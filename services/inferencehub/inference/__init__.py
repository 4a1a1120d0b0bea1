"""The inference service: gRPC in, model out."""
