"""The gateway: HTTP and JSON in, gRPC out. Holds no model and no model library."""
