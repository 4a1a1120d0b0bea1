"""Metrics as text, written in pieces between which the event loop runs; only what has metrics imports it."""
