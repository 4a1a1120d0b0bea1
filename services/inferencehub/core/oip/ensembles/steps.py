"""The steps of an ensemble, as its config.pbtxt names them, in Triton's form (`ensemble_scheduling`).

Each step calls a model. Its maps connect the model's inputs and outputs with the ensemble's tensors: those that callers
send, those that they get, and those between the steps. A step runs as soon as all tensors that it reads are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from inferencehub.core.values.errors import bad_input, listed
from inferencehub.pb import model_config_pb2 as config_pb

PLATFORM = "ensemble"


class Step(NamedTuple):
    """One call of a model.

    Args:
        number: its place in the config, from 1.
        model, version: which model; version "" is the default one.
        inputs: pairs of a name of the model's inputs and the tensor that it gets.
        outputs: pairs of a name of the model's outputs and the tensor that it becomes.
    """

    number: int
    model: str
    version: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"step {self.number} (model '{self.model[:80]}')"


def steps_of(config: config_pb.ModelConfig) -> tuple[Step, ...]:
    """The steps of an ensemble, so ordered that each one comes after those that make what it reads.

    Raises:
        HubError: BAD_INPUT that names the step and the tensor.
    """
    steps = [
        read_step(config, number, one) for number, one in enumerate(config.ensemble_scheduling.step, start=1)
    ]
    if not steps:
        raise bad_input("config.pbtxt: an ensemble needs at least one ensemble_scheduling.step")
    made_by = writers(steps, [entry.name for entry in config.input])
    for step in steps:
        for name, tensor in step.inputs:
            if tensor not in made_by:
                raise bad_input(
                    f"config.pbtxt: {step} reads '{tensor}' as its input '{name}', expected an input of the ensemble or "
                    f"an output of a step: {listed(map(repr, sorted(made_by)))}"
                )
    read = {tensor for step in steps for _, tensor in step.inputs}
    for entry in config.input:
        if entry.name not in read:
            raise bad_input(f"config.pbtxt: no step reads the ensemble's input '{entry.name}'")
    for wanted in config.output:
        if made_by.get(wanted.name) is None:
            raise bad_input(f"config.pbtxt: no step makes the ensemble's output '{wanted.name}'")
    return in_order(steps)


def read_step(config: config_pb.ModelConfig, number: int, one: config_pb.ModelEnsembling.Step) -> Step:
    """A step of the config.

    Raises:
        HubError: BAD_INPUT if it calls no model or its own ensemble, or lacks a map.
    """
    version = "" if one.model_version <= 0 else str(one.model_version)
    inputs, outputs = tuple(sorted(one.input_map.items())), tuple(sorted(one.output_map.items()))
    step = Step(number, one.model_name, version, inputs, outputs)
    if not one.model_name:
        raise bad_input(f"config.pbtxt: step {number} of the ensemble needs a model_name")
    if one.model_name == config.name:
        raise bad_input(f"config.pbtxt: {step} is the ensemble itself")
    if one.model_namespace:
        raise bad_input(f"config.pbtxt: {step} sets model_namespace, and models here have none")
    for kind, pairs in (("input_map", inputs), ("output_map", outputs)):
        if not pairs or not all(name and tensor for name, tensor in pairs):
            raise bad_input(f"config.pbtxt: {step} needs an {kind} with a key and a value in each entry")
    return step


def writers(steps: Iterable[Step], inputs: Iterable[str]) -> dict[str, Step | None]:
    """Each tensor of the ensemble, with the step that makes it; None for those that callers send.

    Raises:
        HubError: BAD_INPUT if two make the same one.
    """
    made_by: dict[str, Step | None] = dict.fromkeys(inputs)
    for step in steps:
        for name, tensor in step.outputs:
            if tensor in made_by:
                other = made_by[tensor]
                raise bad_input(
                    f"config.pbtxt: {step} makes '{tensor}' of its output '{name}', which is already "
                    + (f"made by {other}" if other else "an input of the ensemble")
                )
            made_by[tensor] = step
    return made_by


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps, each after those that make what it reads.

    Raises:
        HubError: BAD_INPUT if some wait for one another.
    """
    ordered: list[Step] = []
    left = list(steps)
    while left:
        missing = {tensor for step in left for _, tensor in step.outputs}
        ready = [step for step in left if not any(tensor in missing for _, tensor in step.inputs)]
        if not ready:
            raise bad_input(f"config.pbtxt: {' and '.join(map(str, left))} wait for one another")
        ordered += ready
        left = [step for step in left if step not in ready]
    return tuple(ordered)
