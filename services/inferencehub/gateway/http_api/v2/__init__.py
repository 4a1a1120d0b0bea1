"""The protocol's HTTP endpoints: calls of models, questions about models, settings, what this server does not have. Imported by `routes`."""
