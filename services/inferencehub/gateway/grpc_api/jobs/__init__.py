"""Jobs over gRPC: calls that become jobs, their runs, and the service `inference.Jobs`. Imports what `grpc_api` may import."""
