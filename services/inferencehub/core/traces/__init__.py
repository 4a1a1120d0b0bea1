"""Traces: the context that callers send, which calls are kept, and their way to a collector over OTLP. It imports `process` and `oip`; the tiers import it."""
