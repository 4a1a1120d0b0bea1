"""`python -m inferencehub.scaler`: reads the settings from the environment and runs the scaler."""

from __future__ import annotations

import os
import sys

# `python -m inferencehub.scaler doctor` asks the process that runs, and loads less than it.
if __name__ == "__main__" and sys.argv[1:2] == ["doctor"]:
    from inferencehub.core.process.doctor.command import main as doctor
    from inferencehub.scaler.doctor.absent import TIER

    sys.exit(doctor(TIER, sys.argv[2:], os.environ))

from inferencehub.core.process.life import live, run
from inferencehub.core.process.logs import set_up_logs
from inferencehub.core.process.settings import read_settings
from inferencehub.scaler.server import Scaler
from inferencehub.scaler.settings import ScalerSettings


async def main() -> None:
    """One scaler process, from start to end."""
    settings = read_settings(ScalerSettings, os.environ)
    set_up_logs("scaler", settings.log_format, settings.log_level)
    await live(Scaler(settings))


if __name__ == "__main__":
    sys.exit(run(main))
