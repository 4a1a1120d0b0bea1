"""Batches over HTTP: a file of many calls becomes one job, and its result a file of answers. Imported by `gateway/server.py`."""
