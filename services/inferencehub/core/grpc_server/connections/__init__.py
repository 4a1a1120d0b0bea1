"""What the callers of a gRPC port hold of the memory, which grpcio does not show: unread answers, half messages. Imports `http1` and below."""
