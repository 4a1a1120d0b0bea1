"""Models that come, change and go while the pod runs, as HUB_MODEL_CONTROL says. It imports the other modules of `models`; `inference/server.py` and `grpc_api` import it."""
