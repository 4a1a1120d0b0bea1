"""`inferencehub`, the command: passes the environment to a subcommand and runs it.

To add a subcommand, add a file next to this one and an entry in `COMMANDS`.
"""

from __future__ import annotations

import os
import sys

import click

from inferencehub import __version__
from inferencehub.cli.check import check
from inferencehub.cli.deploy.image import image
from inferencehub.cli.deploy.values import values
from inferencehub.cli.doctor import doctor
from inferencehub.cli.keys import key
from inferencehub.cli.new.command import new
from inferencehub.cli.predict import predict
from inferencehub.cli.replay.command import replay
from inferencehub.cli.run import run
from inferencehub.cli.score.command import score
from inferencehub.core.process.life import open_standard_streams
from inferencehub.core.process.settings import SettingError

COMMANDS = [new, check, run, doctor, image, key, predict, replay, score, values]


@click.group(
    name="inferencehub",
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Models come from a web server or a bucket with: python -m inferencehub.inference fetch --help",
)
@click.version_option(__version__, message="inferencehub %(version)s")
def cli() -> None:
    """Serve machine learning models over HTTP and gRPC."""


def main(arguments: list[str] | None = None) -> None:
    """Run one subcommand and exit with its code; 2 if the command line or a setting is wrong.

    Args:
        arguments: the arguments after the program's name; None for the arguments of this process.
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
