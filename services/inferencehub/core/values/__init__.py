"""Values that are checked once and never change: tensors, signatures, requests, errors. Anything may import it; it imports nothing of ours."""
