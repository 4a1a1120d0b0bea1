"""Whether the steps of an ensemble fit together: what one makes must be what the next one reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from inferencehub.core.oip.ensembles.steps import Step
from inferencehub.core.values.errors import listed
from inferencehub.core.values.signature import Signature, TensorSpec


def misfit(
    steps: Sequence[Step],
    ensemble: Signature,
    signatures_of: Callable[[Step], Sequence[Signature] | str | None],
) -> str:
    """The first thing that is wrong, as a sentence; "" if nothing is.

    Args:
        steps: in their order.
        ensemble: what callers send and get.
        signatures_of: the signatures of a step's model, several during a rollout, of which one must fit; or why it cannot
            run; None if it is not known yet, which ends the look.
    """
    there = {spec.name: spec for spec in ensemble.inputs}
    for step in steps:
        found = signatures_of(step)
        if found is None:
            return ""
        if isinstance(found, str):
            return f"{step}: {found}"
        wrongs = [wrong_step(step, one, ensemble, there) for one in found]
        if all(wrongs):
            return f"{step}: {wrongs[0]}"
        outputs = by_name(found[wrongs.index("")].outputs)
        there |= {tensor: outputs[name] for name, tensor in step.outputs}
    for spec in ensemble.outputs:
        if not agree(there[spec.name], spec):
            return f"the ensemble's output '{spec.name}' is {shown(spec)}, and a step makes {shown(there[spec.name])}"
    return ""


def wrong_step(step: Step, signature: Signature, ensemble: Signature, there: dict[str, TensorSpec]) -> str:
    """Why a step cannot be a call of a model with this signature; "" if it can."""
    if wrong := wrong_model(step, signature, ensemble) or wrong_inputs(step, signature, there):
        return wrong
    outputs = by_name(signature.outputs)
    for name, _ in step.outputs:
        if name not in outputs:
            return f"the model has no output '{name}', expected one of {listed(map(repr, outputs))}"
    return ""


def wrong_model(step: Step, signature: Signature, ensemble: Signature) -> str:
    """Why no ensemble, or not this one, can call a model; "" if it can."""
    if signature.decoupled:
        return "the model gives several answers, and a step gives one"
    if signature.max_batch_size and ensemble.max_batch_size > signature.max_batch_size:
        return f"the model takes {signature.max_batch_size} rows, and the ensemble {ensemble.max_batch_size}"
    return ""


def wrong_inputs(step: Step, signature: Signature, there: dict[str, TensorSpec]) -> str:
    """Why the model of a step cannot read what it gets; "" if it can."""
    inputs = by_name(signature.inputs)
    given = dict(step.inputs)
    for name, tensor in given.items():
        if name not in inputs:
            return f"the model has no input '{name}', expected one of {listed(map(repr, inputs))}"
        if not agree(there[tensor], inputs[name]):
            return f"its input '{name}' is {shown(inputs[name])}, and the tensor '{tensor}' {shown(there[tensor])}"
        if there[tensor].optional and not inputs[name].optional:
            return f"its input '{name}' is needed, and callers may leave '{tensor}' out"
    missing = [spec.name for spec in signature.inputs if not spec.optional and spec.name not in given]
    return f"its input '{missing[0]}' is in no input_map" if missing else ""


def by_name(specs: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    """Inputs or outputs by their names."""
    return {spec.name: spec for spec in specs}


def agree(made: TensorSpec, read: TensorSpec) -> bool:
    """Whether one tensor may be the other: the same type, and no dimension of two different sizes."""
    if made.dtype != read.dtype:
        return False
    if made.any_shape or read.any_shape:
        return True
    pairs = zip(made.shape, read.shape, strict=False)
    return len(made.shape) == len(read.shape) and all(a == b or -1 in (a, b) for a, b in pairs)


def shown(spec: TensorSpec) -> str:
    """A tensor's type and shape in a sentence."""
    return f"{spec.dtype} {'of any shape' if spec.any_shape else list(spec.shape)}"
