"""`inferencehub image`: an image of the inference service with models and the packages that they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from inferencehub.cli.check import DIRECTORY
from inferencehub.cli.deploy.context import write_context
from inferencehub.cli.deploy.dockerfile import Unfit, dockerfile, needs_of
from inferencehub.cli.processes.directories import is_model, models_in

BASE = "inferencehub-inference:dev"


@click.command(context_settings={"show_default": True})
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "-t", "--tag", metavar="NAME", help="Name of the image, such as registry.example.com/reviews:1."
)
@click.option("--base", metavar="NAME", default=BASE, help="Image of the inference service to begin with.")
@click.option("--print", "only_print", is_flag=True, help="Print the Dockerfile, and build nothing.")
@click.argument("arguments", metavar="[-- DOCKER BUILD ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
def image(directory: Path, tag: str | None, base: str, only_print: bool, arguments: tuple[str, ...]) -> None:
    """Build an image that serves the models in DIR, with docker.

    DIR is a model, or a repository of models. A `requirements.txt` beside a model.py, or beside its config.pbtxt, is installed: into
    the environment that the model's EXECUTION_ENV_PATH names, which is made for it, or else into that of the service, whose own
    packages keep their versions. The sample models are not in the image.

    Exits with 1 if the image could not be built, and 2 if the models or the command line are wrong.
    """
    if not only_print and not tag:
        raise click.UsageError("expected --tag NAME, or --print")
    directory = directory.resolve()  # "." has a name then, which is the model's
    models = [directory] if is_model(directory) else models_in(directory)
    if not models:
        raise click.UsageError(f"'{directory}' has no models, expected directories such as <model>/1")
    try:
        needs = [needs_of(model) for model in models]
        text = dockerfile(base, needs)
    except Unfit as error:
        raise click.UsageError(str(error)) from None
    if only_print:
        click.echo(text, nl=False)
        return
    try:
        docker = subprocess.Popen(
            ["docker", "build", "--tag", str(tag), *arguments, "-"], stdin=subprocess.PIPE
        )
    except OSError as error:
        raise click.ClickException(
            f"docker cannot be run: {error.strerror}; --print shows the Dockerfile"
        ) from None
    with docker:
        assert docker.stdin is not None
        target = Path("models", directory.name) if is_model(directory) else Path("models")
        made = {need.environment for need in needs}
        try:
            with docker.stdin as archive:
                write_context(archive, text, directory, target, made)
        except BrokenPipeError:
            pass  # docker has said why
        except OSError as error:
            docker.kill()
            raise click.ClickException(f"'{error.filename}' cannot be read: {error.strerror}") from None
    sys.exit(min(1, docker.returncode))
