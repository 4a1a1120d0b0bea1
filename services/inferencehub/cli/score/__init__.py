"""`inferencehub score`: the rows of a file through a model, into another file. Imports `client` and core; the command uses it."""
