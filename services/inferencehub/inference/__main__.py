"""`python -m inferencehub.inference`: reads the settings from the environment and runs the service."""

from __future__ import annotations

import json
import os
import signal
import sys

# `python -m inferencehub.inference doctor` asks the process that runs, and loads less than it.
if __name__ == "__main__" and sys.argv[1:2] == ["doctor"]:
    from inferencehub.core.process.doctor.command import main as doctor
    from inferencehub.inference.doctor.absent import TIER

    sys.exit(doctor(TIER, sys.argv[2:], os.environ))

# `python -m inferencehub.inference check DIR` loads models, and serves nothing.
if __name__ == "__main__" and sys.argv[1:2] == ["check"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C during the imports ends it, without a traceback
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # see below
    from inferencehub.inference.check.command import main as check

    sys.exit(check(sys.argv[2:], os.environ))

# `python -m inferencehub.inference fetch URI` makes a model repository before the service starts.
if __name__ == "__main__" and sys.argv[1:2] == ["fetch"]:
    from inferencehub.inference.fetch.command import main as fetch

    sys.exit(fetch(sys.argv[2:], os.environ))

# `python -m inferencehub.inference refetch MARK URI` is the same until a fetch fails, which leaves MARK.
if __name__ == "__main__" and sys.argv[1:2] == ["refetch"] and not os.path.exists(sys.argv[2]):
    from inferencehub.inference.fetch.command import main as fetch

    sys.exit(fetch([*sys.argv[3:], f"--message={sys.argv[2]}"], os.environ))

from inferencehub.core.process.init import leave_process_1

# gRPC reads these variables when it is imported.
# Fork support: gRPC would run its own code in each process that is forked for a model, before that process starts
# Python anew. Under load, such a process sometimes crashes in this code.
# Event engine listener: with it, a pool of threads waits at the sockets, and each message wakes two more threads. That
# takes 10 to 20% of a call's time. Without it, the thread that delivers messages also waits at the sockets.
if __name__ == "__main__":
    leave_process_1()
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

from inferencehub.core.process.life import live, run
from inferencehub.core.process.logs import AccessLog, set_up_logs
from inferencehub.core.process.settings import read_settings
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from inferencehub.inference.unfetched import refetch


async def main() -> None:
    """One inference process, from start to end."""
    os.environ.setdefault(
        "ORT_DISABLE_TELEMETRY", "1"
    )  # read when onnxruntime is imported; otherwise it would send usage data to its vendor
    settings = read_settings(InferenceSettings, os.environ)
    # A thread that runs a model in Python keeps the GIL for this interval, and the event loop waits for the GIL several
    # times in each call. With two busy sentiment instances, health checks took 350 ms (p99) with the default of 5 ms,
    # and 30 ms with this value.
    sys.setswitchinterval(0.0005)
    set_up_logs("inference", settings.log_format, settings.log_level)
    access = AccessLog("inference", settings.log_format) if settings.access_log else None
    await live(InferenceServer(settings, access))


def wait_as_spare() -> None:
    """Wait, with everything imported, for a line that names the ports: `inferencehub run --reload` sends it.

    The process ends if the other one does.
    """
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    os.environ.update(json.loads(line))


if __name__ == "__main__":
    if sys.argv[1:2] == ["spare"]:
        wait_as_spare()
    if sys.argv[1:2] == ["refetch"]:
        sys.exit(run(lambda: refetch(sys.argv[2:], os.environ)))
    sys.exit(run(main))
