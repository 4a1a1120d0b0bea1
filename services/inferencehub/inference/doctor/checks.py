"""What the doctor of an inference service looks at: its models, whether it is ready, its files and its limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from inferencehub.core.process.doctor.doctor import Check, Doctor
from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.process import of_files, of_limits
from inferencehub.core.process.metrics import Reloaded
from inferencehub.core.values.errors import listed
from inferencehub.inference.fetch.mark import read_mark
from inferencehub.inference.models.model import Model, ModelState
from inferencehub.inference.models.registry import Models
from inferencehub.inference.settings import InferenceSettings

REPAIR = (
    "Repair the model or undo its last change, then start the process anew: models are loaded at the start, unless "
    "HUB_MODEL_CONTROL says otherwise."
)


def doctor_of(
    settings: InferenceSettings,
    models: Models,
    not_ready: Callable[[], str],
    sources: Sequence[Reloaded | None],
) -> Doctor:
    """The doctor of a service.

    Args:
        settings: of the service.
        models: that it serves.
        not_ready: says why it accepts no work; "" if it does.
        sources: files that are read again when they change.
    """

    async def files() -> list[Finding]:
        return of_files([one for one in sources if one is not None])

    async def served() -> list[Finding]:
        found = of_models(models, settings.required_models)
        return [*found, *of_source(models.repository), of_readiness(not_ready())]

    checks: dict[str, Check] = {
        "models": served,
        "files": files,
        "limits": partial(of_limits, settings.queue_bytes),
    }
    return Doctor("inference", checks)


def of_models(models: Models, required: Sequence[str]) -> list[Finding]:
    """What models do not serve, and why."""
    if not models.scanned:
        fix = "Wait; if it stays so, look at the volume of the models."
        return [warning("models", f"the repository '{models.repository}' is being read", fix)]
    found = [one for one in map(of_model, models) if one is not None]
    names = models.names()
    for name in required:
        if name not in names:
            seen = f"it names '{name}', and the repository '{models.repository}' has: {listed(names) or 'no model'}"
            fix = "The process is not ready before it serves. Correct the name, or put the model into the repository."
            found.append(fault("HUB_REQUIRED_MODELS", seen, fix))
    if not names:
        fix = "Expected directories such as <model>/1; HUB_MODELS names the repository. Is the volume mounted, and is it this one?"
        found.append(fault("models", f"the repository '{models.repository}' has none", fix))
    serving = [name for name in names if models.serves(name)]
    return [*found, ok("models", f"these serve: {listed(serving)}")] if serving else found


def of_source(repository: Path) -> list[Finding]:
    """Where the models of a repository were fetched, if they were."""
    source = read_mark(repository)
    return [ok("source of the models", source)] if source else []


def of_model(model: Model) -> Finding | None:
    """What is wrong with a model; None if it serves."""
    what = f"model {model.name}" + (f" version {model.version}" if model.version else "")
    if model.state is ModelState.LOADING:
        return warning(what, "it is being loaded", "Wait; large models may take minutes.")
    if model.state is ModelState.UNAVAILABLE and model.asked:
        return fault(what, f"it does not load: {model.reason}", REPAIR)
    if not model.serves and model.asked:
        fix = "Its processes end again and again: the log has their errors; look at the limit of memory too."
        return fault(what, "all of its instances have ended and are started again", fix)
    return None


def of_readiness(reason: str) -> Finding:
    """Whether the process is ready."""
    if not reason:
        return ok("ready", "gateways may send work")
    fix = "What is said of the models says why; while it loads or drains there is nothing to do."
    return (warning if "load" in reason or "drain" in reason else fault)(
        "ready", f"it accepts no work: {reason}", fix
    )
