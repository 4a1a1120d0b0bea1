"""The steps of an ensemble: their order, and the sentences for configs that make no sense."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.oip.ensembles.steps import steps_of
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.pb import model_config_pb2 as config_pb
from tests.gateway.routing.ensembles.models import step

ENDS = 'name: "e" input { name: "x" } output { name: "y" }'
GOOD = step("a", {"in": "x"}, {"out": "y"})


def config(*steps: str, ends: str = ENDS) -> config_pb.ModelConfig:
    """The configuration of an ensemble of these steps."""
    text = f"{ends} ensemble_scheduling {{ {' '.join(steps)} }}"
    return text_format.Parse(text, config_pb.ModelConfig())


def test_a_step_has_its_maps_and_its_version() -> None:
    (first,) = steps_of(config(step("a", {"in": "x"}, {"out": "y"}, "model_version: 3")))
    assert first == (1, "a", "3", (("in", "x"),), (("out", "y"),))
    (newest,) = steps_of(config(step("a", {"in": "x"}, {"out": "y"}, "model_version: -1")))
    assert newest.version == ""


@given(st.permutations(range(6)))
def test_each_step_comes_after_those_that_it_waits_for(order: list[int]) -> None:
    names = ["x", "t1", "t2", "t3", "t4", "t5", "y"]
    chain = [step("m", {"in": names[index]}, {"out": names[index + 1]}) for index in range(6)]
    ordered = steps_of(config(*[chain[index] for index in order]))
    assert [one.inputs[0][1] for one in ordered] == names[:-1]


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ((), "an ensemble needs at least one ensemble_scheduling.step"),
        (("step { }",), "step 1 of the ensemble needs a model_name"),
        ((step("e", {"in": "x"}, {"out": "y"}),), "step 1 (model 'e') is the ensemble itself"),
        (
            (step("a", {"in": "x"}, {"out": "y"}, 'model_namespace: "n"'),),
            "step 1 (model 'a') sets model_namespace, and models here have none",
        ),
        (
            (step("a", {}, {"out": "y"}),),
            "step 1 (model 'a') needs an input_map with a key and a value in each entry",
        ),
        (
            (step("a", {"in": "x"}, {"out": ""}),),
            "step 1 (model 'a') needs an output_map with a key and a value in each entry",
        ),
        (
            (GOOD, step("b", {"in": "x"}, {"out": "y"})),
            "step 2 (model 'b') makes 'y' of its output 'out', which is already made by step 1 (model 'a')",
        ),
        (
            (GOOD, step("b", {"in": "y"}, {"out": "x"})),
            "step 2 (model 'b') makes 'x' of its output 'out', which is already an input of the ensemble",
        ),
        (
            (GOOD, step("b", {"in": "z"}, {"out": "w"})),
            "step 2 (model 'b') reads 'z' as its input 'in', expected an input of the ensemble or an output of a step: "
            "'w', 'x', 'y'",
        ),
        (
            (step("a", {"in": "y"}, {"out": "z"}), step("b", {"in": "z"}, {"out": "y"})),
            "no step reads the ensemble's input 'x'",
        ),
        ((step("a", {"in": "x"}, {"out": "z"}),), "no step makes the ensemble's output 'y'"),
        (
            (GOOD, step("b", {"in": "w"}, {"out": "z"}), step("c", {"in": "z"}, {"out": "w"})),
            "step 2 (model 'b') and step 3 (model 'c') wait for one another",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(steps: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(HubError) as refused:
        steps_of(config(*steps))
    assert refused.value.kind is Kind.BAD_INPUT
    assert refused.value.detail == f"config.pbtxt: {sentence}"
