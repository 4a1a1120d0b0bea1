"""`python -m inferencehub.inference`: reads the environment, wires, lives."""

from __future__ import annotations

import os
import sys

# gRPC reads these when it is imported. With its support for forks it runs code of its own in each process that is forked
# for a model, before that becomes the model's, and under load this one crashes now and then. Without its new listener
# the thread that hands over what has come also waits for it at the sockets; with it that is work for a pool of threads,
# and each message wakes two more of them: 10 to 20% of what a call takes.
if __name__ == "__main__":
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

from inferencehub.core.process.life import live, run
from inferencehub.core.process.logs import AccessLog, set_up_logs
from inferencehub.core.process.settings import read_settings
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings


async def main() -> None:
    """One inference process, from start to end."""
    os.environ.setdefault(
        "ORT_DISABLE_TELEMETRY", "1"
    )  # onnxruntime, when imported, would report its use to its maker
    settings = read_settings(InferenceSettings, os.environ)
    # A model's thread that runs Python keeps the GIL for so long at a time, and the event loop waits for it several times
    # a call: with the usual 5 ms health checks beside two busy sentiment instances took 350 ms (p99), with this 30 ms.
    sys.setswitchinterval(0.0005)
    set_up_logs("inference", settings.log_format, settings.log_level)
    access = AccessLog("inference", settings.log_format) if settings.access_log else None
    await live(InferenceServer(settings, access))


if __name__ == "__main__":
    sys.exit(run(main))
