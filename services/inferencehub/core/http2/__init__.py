"""Client and server of a single gRPC stream on its own HTTP/2 connection, without grpc.aio. Every tier may import it. It imports only `values`."""
