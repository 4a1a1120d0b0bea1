"""What runs in the process of an instance of a Python model. It imports `python/channel.py`, `support` and `inferencehub.model`, and nothing imports it."""
