"""OpenAI's files and batches: another reading of the batches of `http_api/batches`, with no state of its own. Imported by `gateway/server.py`."""
