"""The store of jobs in a file of SQLite: for one gateway, and `make run`. Only `http_api/jobs/front.py` imports it."""
