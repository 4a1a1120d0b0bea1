"""Models, from directories to lanes: repository, configuration, registry. Imports `runtimes`; `grpc_api` uses it."""
