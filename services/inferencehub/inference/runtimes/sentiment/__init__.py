"""Sentiment of a text by rules and a lexicon. Imports `runtime.py` and `support`."""
