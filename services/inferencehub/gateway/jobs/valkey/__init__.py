"""The store of jobs in Valkey or Redis: for any number of gateways. Only `http_api/jobs/front.py` imports it."""
