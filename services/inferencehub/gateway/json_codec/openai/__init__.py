"""OpenAI's JSON: what callers send becomes inputs of a model, and what the model gives becomes answers. Imported by `http_api` alone."""
