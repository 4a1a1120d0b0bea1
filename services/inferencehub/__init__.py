"""InferenceHub: a gateway and an inference service that put models behind an API."""

__version__ = "0.1.0"
