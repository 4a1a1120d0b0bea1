"""What a check has found, as values for JSON, and as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from inferencehub.core.oip.prediction import Prediction
from inferencehub.core.values.errors import listed
from inferencehub.core.values.signature import TensorSpec
from inferencehub.core.values.tensors import Tensor

MIB = 2**20
WIDTH = 10  # characters of the names before what is said


class Described(msgspec.Struct, frozen=True):
    """An input or an output: `shape` has -1 for any size, with the batch first; it is None where every shape fits."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    optional: bool = False


class ModelReport(msgspec.Struct, kw_only=True):
    """A model version.

    Args:
        name, version: of the model; `version` is "" if its directory cannot be read.
        backend: its runtime.
        ok: whether it loads and answers.
        fault: why not, in a sentence; "" if it does.
        inputs, outputs: as callers see them.
        max_batch_size: rows that may run together; 0 if it does not batch.
        decoupled: whether it gives any number of answers.
        instances: how many runs go side by side.
        versions: all version directories; `version_policy` chooses those that are served.
        parameters: the string parameters of its config.
        load_s: seconds of its load.
        called_with: what the call held, in words.
        call_s: seconds of the call.
        answers: how many it gave; 0 for an ensemble, whose steps a gateway runs.
        answered: the outputs of the first one.
        asks: the other models that it called, so that its call could not end; () if it did, or has failed by itself.
        calls: how many further calls were measured, one after the other.
        then_s: the mean seconds of these; 0.0 without any.
        cores: CPU seconds that they took for each second.
        predict: why POST /predict can't use it; "" if it can.
        written: a few words about the version of its library that wrote the file; "" if it is the one here, or not known.
        prediction: what /predict read in the answer; None if it can't, or if nothing was called.
    """

    name: str
    version: str = ""
    backend: str = ""
    ok: bool = False
    fault: str = ""
    inputs: Sequence[Described] = ()
    outputs: Sequence[Described] = ()
    max_batch_size: int = 0
    decoupled: bool = False
    instances: int = 0
    versions: Sequence[str] = ()
    parameters: dict[str, str] = {}
    load_s: float = 0.0
    called_with: str = ""
    call_s: float = 0.0
    answers: int = 0
    answered: Sequence[Described] = ()
    asks: Sequence[str] = ()
    calls: int = 0
    then_s: float = 0.0
    cores: float = 0.0
    predict: str = ""
    written: str = ""
    prediction: Prediction | None = None


class CheckReport(msgspec.Struct):
    """All models of a directory.

    Args:
        directory: what was checked.
        models: each version that is served.
        memory_bytes: the largest resident memory of the process and those of its models; 0 where the system does not tell.
    """

    directory: str
    models: list[ModelReport]
    memory_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is a model, and nothing is wrong with any."""
        return bool(self.models) and all(model.ok for model in self.models)


def described(one: TensorSpec | Tensor) -> Described:
    """An input or output as the report shows it."""
    if isinstance(one, TensorSpec):
        return Described(one.name, one.dtype, None if one.any_shape else one.shape, one.optional)
    return Described(one.name, one.dtype, one.shape)


def as_text(report: CheckReport) -> str:
    """The report for people."""
    lines = [line for model in report.models for line in (*lines_of(model), "")]
    faults = sum(not model.ok for model in report.models)
    count = len(report.models)
    versions = f"{count} model version{'s' if count != 1 else ''} in {report.directory}"
    memory = f", {report.memory_bytes / MIB:.0f} MiB of memory" if report.memory_bytes else ""
    if not count:
        return f"FAULT  {report.directory} has no models, expected directories such as <model>/1\n"
    return "\n".join(
        [*lines, f"{versions}: {f'{faults} with a fault' if faults else 'all load and answer'}{memory}", ""]
    )


def lines_of(model: ModelReport) -> Iterator[str]:
    """The lines about one model version."""
    version = f" version {model.version}" if model.version else ""
    yield f"{'OK' if model.ok else 'FAULT':<6} {model.name}{version}" + (
        f", {model.backend}" if model.backend else ""
    )
    for name, said in facts(model):
        yield f"       {name:<{WIDTH}}{said}"
    if model.fault:
        yield f"       {model.fault}"


def facts(model: ModelReport) -> Iterator[tuple[str, str]]:
    """What is said of a model that has loaded."""
    if not model.load_s:
        return
    yield "inputs", listed(map(shown, model.inputs)) or "none"
    yield "outputs", listed(map(shown, model.outputs)) or "not declared"
    rows = f"up to {model.max_batch_size} rows in a run" if model.max_batch_size else "none"
    alone = " (several answers: one request a run)" if model.decoupled and model.max_batch_size else ""
    yield "batching", f"{rows}{alone}, {model.instances} instance{'s' if model.instances != 1 else ''}"
    if len(model.versions) > 1:
        yield "versions", f"{listed(model.versions)}; this one is served"
    if model.written:
        yield "file", model.written
    yield "load", f"{model.load_s:.3f} s"
    if model.asks:
        names = listed(f"'{name}'" for name in model.asks)
        yield "call", f"none: it calls other models ({names}), so it is loaded and not called"
        return
    if model.ok and not model.called_with:
        yield "call", "none: a gateway runs the steps of an ensemble"
    if model.answers:
        several = f"{model.answers} answers, the first with " if model.decoupled else ""
        yield (
            "call",
            f"{model.call_s * 1e3:.1f} ms with {model.called_with}: {several}{listed(map(shown, model.answered))}",
        )
        read = model.prediction
        if read is None:
            yield "/predict", f"no: {model.predict}"
            return
        label = f", label '{read.label}'" if read.label else ""
        yield "/predict", f"yes: class_id {read.class_id}, confidence {read.confidence:.6g}{label}"


def shown(one: Described) -> str:
    """An input or output in a few words."""
    shape = "of any shape" if one.shape is None else str(list(one.shape))
    return f"{one.name} {one.datatype} {shape}" + (" optional" if one.optional else "")
