"""Streams of callers: ModelStreamInfer, one and all of them, and how many each caller has open. Imported by both tiers."""
