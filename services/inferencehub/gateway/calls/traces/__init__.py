"""Traces of calls: what is noted of each one at its end, and the spans that are made of that. It imports `calls.exchange`; fronts and the server import it."""
