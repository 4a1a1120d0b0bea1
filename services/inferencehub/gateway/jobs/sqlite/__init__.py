"""The store of jobs in a file of SQLite: for one gateway, and `make run`. Only `gateway/server.py` imports it."""
