"""`python -m inferencehub.gateway`: reads the settings from the environment and runs one gateway."""

from __future__ import annotations

import os
import sys

# `python -m inferencehub.gateway doctor` asks the process that runs, and loads less than it.
if __name__ == "__main__" and sys.argv[1:2] == ["doctor"]:
    from inferencehub.core.process.doctor.command import main as doctor
    from inferencehub.gateway.routing.doctor.absent import TIER

    sys.exit(doctor(TIER, sys.argv[2:], os.environ))

# gRPC reads it when it is imported. With this listener, each message wakes two more threads; see inference/__main__.py.
if __name__ == "__main__":
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

from inferencehub.core.process.life import live, run
from inferencehub.core.process.logs import AccessLog, set_up_logs
from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings


async def main() -> None:
    """Run one gateway process, from start to end."""
    settings = read_settings(GatewaySettings, os.environ)
    set_up_logs("gateway", settings.log_format, settings.log_level)
    access = AccessLog("gateway", settings.log_format) if settings.access_log else None
    await live(Gateway(settings, access))


if __name__ == "__main__":
    sys.exit(run(main))
