"""`inferencehub check`: loads models with the code of a pod, calls each once, and says what was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from inferencehub.cli.processes.tiers import settings_of
from inferencehub.inference.settings import InferenceSettings

DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(environ: Mapping[str, str], directory: Path, as_json: bool) -> None:
    """Load the models in DIR as a pod does, call each once, and say what was found.

    DIR is a model (it has config.pbtxt or version directories), or a repository of models. The call has zeros and short texts in
    the declared shapes, or the first request of the config's model_warmup. What the pod's log would say is on standard error.

    Exits with 0 if all models load and answer, 1 if one does not, and 2 if it could not be done or was stopped.
    """
    asked = command(str(directory), *(["--json"] if as_json else []))
    # This process becomes the one that checks, so each signal reaches the one that can end the models' processes.
    os.execve(asked[0], asked, settings_of(InferenceSettings, environ))


def command(*arguments: str) -> tuple[str, ...]:
    """The command line that checks models in the inference service's own code.

    Raises:
        ClickException: if the library that models need is missing.
    """
    if find_spec("numpy") is None:
        raise click.ClickException(
            "numpy is missing, which comes with: pip install 'inferencehub[inference]'"
        )
    return (sys.executable, "-m", "inferencehub.inference", "check", *arguments)
