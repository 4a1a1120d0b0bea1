"""One gRPC stream on an HTTP/2 connection of its own, both ends, without grpc.aio. Any tier may import it; it imports `values` alone."""
