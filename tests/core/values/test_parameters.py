"""Which parameters are the server's, and what becomes of them."""

from __future__ import annotations

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.parameters import check_tensor_parameters, class_count, split_parameters
from inferencehub.core.values.requests import InferRequest, Parameter


def call(**parameters: Parameter) -> InferRequest:
    """A request with parameters."""
    return InferRequest("m", "", (), ("y",), parameters, (2,))


def test_requests_that_differ_in_their_timeout_alone_may_merge() -> None:
    one, timeout = split_parameters(call(timeout=5, top_k=3))
    other, none = split_parameters(call(top_k=3))
    assert (one, timeout, none) == (other, 5, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", 0),
        ("sequence_id", ""),
        ("sequence_start", False),
        ("sequence_end", False),
        ("priority", 0),
        ("priority", 7),
        ("binary_data_output", True),
        ("triton_enable_empty_final_response", True),
    ],
)
def test_a_value_that_changes_nothing_is_accepted_and_reaches_no_model(name: str, value: Parameter) -> None:
    assert split_parameters(call(**{name: value}, top_k=3)) == (call(top_k=3), None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", 1),
        ("sequence_id", "a"),
        ("sequence_id", False),
        ("sequence_start", True),
        ("sequence_start", 1),
        ("sequence_end", True),
        ("priority", -1),
        ("priority", "high"),
        ("priority", True),
        ("binary_data_output", 1),
        ("content_type", "base64"),
        ("content_type", 1),
    ],
)
def test_a_parameter_whose_effect_is_not_there_is_refused_by_its_name(name: str, value: Parameter) -> None:
    with pytest.raises(HubError, match=f"parameter '{name}' is .* expected") as caught:
        split_parameters(call(**{name: value, "timeout": 5}))
    assert caught.value.kind is Kind.UNSUPPORTED


@pytest.mark.parametrize("name", ["headers", "triton_x", "triton_final_response"])
def test_names_of_servers_are_refused(name: str) -> None:
    with pytest.raises(HubError, match=f"parameter '{name}' is reserved, expected") as caught:
        split_parameters(call(**{name: 1}))
    assert caught.value.kind is Kind.BAD_INPUT


def test_the_models_own_parameters_stay() -> None:
    own = call(top_k=3, temperature=0.5, content_type="np", sequence="x")
    assert split_parameters(own) == (own, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shared_memory_region", "r"),
        ("shared_memory_offset", 0),
        ("shared_memory_byte_size", 4),
        ("content_type", "base64"),
        ("content_type", "datetime"),
    ],
)
def test_a_tensors_parameter_that_would_change_the_answer_is_refused(name: str, value: object) -> None:
    with pytest.raises(
        HubError, match=f"^input 'x': parameter '{name}' is .*, expected|: expected"
    ) as caught:
        check_tensor_parameters("input 'x'", {name: value})
    assert caught.value.kind is Kind.UNSUPPORTED


@pytest.mark.parametrize("name", ["content_type", "unit", "binary_data_size", "dtype"])
def test_a_tensors_other_parameters_are_ignored(name: str) -> None:
    check_tensor_parameters("input 'x'", {name: "np"})


@pytest.mark.parametrize(
    ("parameters", "count"), [({}, 0), ({"classification": 0}, 0), ({"classification": 3}, 3)]
)
def test_the_count_of_classes(parameters: dict[str, object], count: int) -> None:
    assert class_count("y", parameters) == count


@pytest.mark.parametrize("count", [-1, True, "2", 1.5, 2**31])
def test_a_count_that_is_no_whole_number_is_refused(count: object) -> None:
    with pytest.raises(HubError, match=r"^output 'y': parameter 'classification' is .*, expected") as caught:
        class_count("y", {"classification": count})
    assert caught.value.kind is Kind.BAD_INPUT
