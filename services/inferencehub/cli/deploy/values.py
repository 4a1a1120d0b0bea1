"""`inferencehub values`: values of the Helm chart for models, measured by loading and calling them here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

import click

from inferencehub.cli.check import DIRECTORY, command
from inferencehub.cli.processes.supervisor import ENDS_WITH_US
from inferencehub.cli.processes.tiers import settings_of
from inferencehub.core.process.settings import read_settings
from inferencehub.core.values.class_outputs import TEXTS
from inferencehub.core.values.signature import FILLED
from inferencehub.inference.settings import InferenceSettings

MIB = 2**20
STEP_MIB, SPARE = 32, 1.25  # memory is rounded up to such steps, after a quarter more than was seen
LEAST_CPU_M, STEP_CPU_M = 100, 50
MEASURE_S = 1.0  # how long each model is called


@click.command()
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.pass_obj
def values(environ: Mapping[str, str], directory: Path) -> None:
    """Print values of the Helm chart for the models in DIR.

    These are an example request, which `helm test` sends, the models that must serve for a pod to be ready, and CPU and memory, which
    are measured: each model is loaded, and called for a second. A busy machine shows less CPU than an idle one.

    Exits with 1 if a model does not load or answer; `inferencehub check` says why.
    """
    environ = settings_of(InferenceSettings, environ)
    asked = command(str(directory), "--json", "--measure", str(MEASURE_S))
    done = subprocess.run(
        asked, env=environ, stdout=subprocess.PIPE, check=False, preexec_fn=ENDS_WITH_US
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout or '{"models":[],"memory_bytes":0}')
    broken = {model["name"]: model["fault"] for model in report["models"] if not model["ok"]}
    for name, fault in broken.items():
        click.echo(f"inferencehub: model '{name}': {fault}", err=True)
    if not report["models"] and done.returncode != 2:
        click.echo(
            f"inferencehub: '{directory}' has no models, expected directories such as <model>/1", err=True
        )
    if broken or done.returncode:
        sys.exit(done.returncode or 1)
    held = read_settings(InferenceSettings, environ).queue_bytes
    click.echo("\n".join(lines_of(directory, report["models"], report["memory_bytes"], held)))


def lines_of(directory: Path, models: Sequence[Mapping[str, Any]], memory: int, held: int) -> Iterator[str]:
    """The values, as YAML with comments.

    Args:
        directory: of the models.
        models: what a check says of each.
        memory: bytes that all took; 0 if the system does not tell.
        held: bytes that a pod may hold for requests.
    """
    yield f"# For the models in {directory}; check them with `inferencehub check {directory}`."
    yield "#   helm install hub charts/inferencehub -f values.yaml"
    yield "# Say in `models` where pods get them from, if they are not in the image."
    yield "example:"
    called = next((model for model in models if model["prediction"] is not None and is_plain(model)), None)
    if called is None:
        yield "  # /predict can use none of the models, so `helm test` fails; /v2 serves them."
    body = {"model_name": models[0]["name"]} if called is None else example(called)
    yield f"  body: {quoted(json.dumps(body, separators=(',', ':')))}"
    yield f"  classId: {'null' if called is None else called['prediction']['class_id']}"
    yield "inference:"
    yield f"  requiredModels: {json.dumps(sorted({model['name'] for model in models}))}"
    yield "  resources:"
    cores = {model["name"]: model["cores"] for model in models}
    busiest = max(cores, key=lambda name: cores[name])
    cpu = max(LEAST_CPU_M, STEP_CPU_M * ceil(cores[busiest] * 1000 / STEP_CPU_M))
    yield "    requests:"
    if asking := sorted(model["name"] for model in models if model["asks"]):
        yield f"      # not measured, because they call other models: {', '.join(asking)}"
    if busiest not in asking:
        yield f"      # '{busiest}' needs the most: {cores[busiest]:.2f} cores with one call at a time"
    yield f"      cpu: {cpu}m"
    if not memory:
        yield "      # This system does not tell how much memory the models take: measure it, and set memory here."
        return
    least = STEP_MIB * ceil(SPARE * memory / MIB / STEP_MIB)
    yield f"      # all models took {memory / MIB:.0f} MiB; with a quarter more"
    yield f"      memory: {least}Mi"
    yield "    limits:"
    yield f"      # and {held / MIB:.0f} MiB for requests (HUB_QUEUE_BYTES)"
    yield f"      memory: {least + ceil(held / MIB)}Mi"


def is_plain(model: Mapping[str, Any]) -> bool:
    """Whether the call of the check is the one that `example` makes."""
    return model["called_with"] in ("zeros", "a short text") and model["inputs"][0]["datatype"] in FILLED


def example(model: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a POST /predict with the call of the check: zeros, or a short text."""
    [one, *_] = model["inputs"]
    if one["datatype"] in TEXTS:
        return {"model_name": model["name"], "text": "text"}
    shape = one["shape"] or [1]
    return {
        "model_name": model["name"],
        "features": [0] * prod(1 if size < 0 else size for size in shape),
    }


def quoted(text: str) -> str:
    """A text between single quotes, as YAML has it."""
    return "'" + text.replace("'", "''") + "'"
