"""Benchmarks that compare InferenceHub with other servers. Nothing under services/ imports them."""
