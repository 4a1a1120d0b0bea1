"""Models, from directories to lanes: repository, configuration, registry. It imports `runtimes`; `grpc_api` imports it."""
