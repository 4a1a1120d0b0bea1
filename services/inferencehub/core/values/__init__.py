"""Values that are checked once and never change: tensors, signatures, requests, errors. Every package may import this one. It imports no other package of InferenceHub."""
