"""`inferencehub`, the command: reads the environment, hands it to the command that was asked for.

A new command is a file beside this one and a line in `COMMANDS`.
"""

from __future__ import annotations

import os
import sys

import click

from inferencehub import __version__
from inferencehub.cli.run import run
from inferencehub.core.process.life import open_standard_streams
from inferencehub.core.process.settings import SettingError

COMMANDS = [run]


@click.group(name="inferencehub", commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="inferencehub %(version)s")
def cli() -> None:
    """Serve machine learning models over HTTP and gRPC."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code: 2 where the command line or a setting is wrong.

    Args:
        arguments: what follows the command's name; those of this process where it is None.
    """
    open_standard_streams()
    try:
        # The program's name is the same whether a console script or `python -m` started it.
        cli.main(arguments, prog_name="inferencehub", obj=os.environ)
    except SettingError as error:
        sys.stderr.write(f"inferencehub: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
