"""What the callers of a gRPC port hold of the memory: half messages and unread answers, which grpcio does not show. Imports `http1` and below."""
