"""`python -m inferencehub.inference check DIR`, which `inferencehub check` runs: the options, and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from inferencehub.core.process.logs import set_up_logs
from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.core.values.errors import HubError
from inferencehub.inference.check.models import check
from inferencehub.inference.check.report import CheckReport, as_text
from inferencehub.inference.settings import InferenceSettings

COULD_NOT = 2


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check a directory and print what was found.

    Args:
        arguments: the directory, `--json`, and `--measure SECONDS`.
        environ: the settings of a pod.

    Returns:
        0 if all models load and answer, 1 if one does not or there is none, 2 if a setting is wrong. After a SIGINT or a SIGTERM
        the process ends, with 2.
    """
    parser = ArgumentParser("inferencehub check")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=float, default=0.0)
    given = parser.parse_args(arguments)
    set_up_logs("inference", "human", "warning")
    try:
        settings = read_settings(InferenceSettings, environ)
        report = asyncio.run(stoppable(given.directory, settings, given.measure))
    except (SettingError, HubError) as error:
        sys.stderr.write(f"inferencehub: {error.detail if isinstance(error, HubError) else error}\n")
        return COULD_NOT
    sys.stdout.write(f"{msgspec.json.encode(report).decode()}\n" if given.json else as_text(report))
    return 0 if report.ok else 1


async def stoppable(directory: Path, settings: InferenceSettings, measure_s: float) -> CheckReport:
    """As `check`. A SIGINT or a SIGTERM unloads the models, says so and ends the process; a second one does not wait."""
    task = asyncio.current_task()
    assert task is not None

    def on_signal() -> None:
        if task.cancelling():
            os._exit(COULD_NOT)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        return await check(directory, settings, measure_s)
    except asyncio.CancelledError:
        sys.stderr.write("inferencehub: stopped before all models were checked\n")
        sys.stderr.flush()
        # A thread that still loads a model cannot be stopped, and the interpreter would wait for it.
        os._exit(COULD_NOT)
