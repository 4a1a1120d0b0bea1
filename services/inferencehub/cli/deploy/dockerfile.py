"""The Dockerfile of an image with models: which packages each of them needs, and how they get into the image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from google.protobuf import text_format

from inferencehub.cli.processes.directories import is_version
from inferencehub.core.oip.model_info import ENVIRONMENT, MODEL_DIRECTORY
from inferencehub.pb import model_config_pb2 as config_pb

REQUIREMENTS = "requirements.txt"
PLAIN = re.compile(r"[A-Za-z0-9._/-]+")  # what a Dockerfile and a shell take for what it is
NUMPY = "numpy>=1.26"  # an environment of a model's own needs it
PIP = "pip --python %s install --no-cache-dir"
OURS = "/opt/venv/bin/python"


class Unfit(Exception):
    """No image can be made of a model. The text says why."""


class Needs(NamedTuple):
    """What a model needs.

    Args:
        name: of the model.
        requirements: its files of requirements, as paths in the repository.
        environment: the directory of its own environment in the image; "" if the service's own runs it.
    """

    name: str
    requirements: Sequence[str]
    environment: str


def needs_of(model: Path) -> Needs:
    """What a model's directory asks for.

    Raises:
        Unfit: if its config cannot be read, or asks for an environment that nothing makes.
    """
    name = model.name
    folders = [model, *sorted(filter(is_version, model.iterdir()))]
    files = [file for folder in folders if (file := folder / REQUIREMENTS).is_file()]
    needs = Needs(name, [file.relative_to(model.parent).as_posix() for file in files], environment_of(model))
    for path in (*needs.requirements, needs.environment):
        if path and not PLAIN.fullmatch(path):
            raise Unfit(
                f"model '{name}': the path '{path}', expected letters, digits, '.', '_', '/' and '-' in it"
            )
    if needs.environment.startswith(f"/models/{name}/") and not files:
        raise Unfit(
            f"model '{name}' has an environment of its own in its directory ({ENVIRONMENT}), expected a {REQUIREMENTS} beside "
            "its model.py: an environment from this machine does not run in an image"
        )
    return needs


def environment_of(model: Path) -> str:
    """Where a model's own environment is in the image; "" if it asks for none.

    Raises:
        Unfit: if its config cannot be read, or has a relative path.
    """
    config = config_pb.ModelConfig()
    path = model / "config.pbtxt"
    try:
        text_format.Parse(path.read_text("utf-8") if path.exists() else "", config)
    except (text_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise Unfit(f"model '{model.name}': config.pbtxt cannot be read: {error}") from None
    if ENVIRONMENT not in config.parameters:
        return ""
    asked = config.parameters[ENVIRONMENT].string_value
    found = posixpath.normpath(asked.replace(MODEL_DIRECTORY, f"/models/{model.name}"))
    if not found.startswith("/"):
        raise Unfit(
            f"model '{model.name}': {ENVIRONMENT} is '{asked}', expected an absolute path or one that begins with {MODEL_DIRECTORY}"
        )
    return found


def dockerfile(base: str, models: Sequence[Needs]) -> str:
    """The Dockerfile of an image with models, which are the folder `models` of its context.

    Packages come before models, so that a model that changes installs nothing anew.
    """
    return "\n".join([*lines(base, models), ""])


def lines(base: str, models: Sequence[Needs]) -> Iterator[str]:
    """The lines of `dockerfile`."""
    yield "# Written by `inferencehub image`. The models are in the folder `models` of its context."
    yield f"FROM {base}"
    yield "USER 0"
    yield "RUN rm -rf /app/samples"
    own: dict[str, list[str]] = {}
    for model in models:
        for path in model.requirements:
            yield f"COPY models/{path} /models/{path}"
            own.setdefault(model.environment, []).append(f"-r /models/{path}")
    ours = own.pop("", [])
    if ours:
        yield "# What the service itself needs stays as it is: a model that needs another version of it asks for an environment of its"
        yield f"# own ({ENVIRONMENT})."
        yield f"RUN pip --python {OURS} freeze --all > /tmp/ours.txt \\"
        yield f" && {PIP % OURS} --constraint /tmp/ours.txt {' '.join(ours)} \\"
        yield " && rm /tmp/ours.txt"
    for environment, files in own.items():
        yield f"RUN python3 -m venv --without-pip {environment} \\"
        yield f" && {PIP % f'{environment}/bin/python'} '{NUMPY}' {' '.join(files)}"
    yield "COPY models /models"
    yield "USER 65532:65532"
