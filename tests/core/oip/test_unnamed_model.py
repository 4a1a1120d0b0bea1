"""Which model a /predict gets that names none: the rule, without a server."""

from __future__ import annotations

import pytest

from inferencehub.core.oip.unnamed_model import FEATURES, TEXT, must_name, unnamed_model


@pytest.mark.parametrize(
    ("models", "features", "text"),
    [
        ({}, "", ""),
        ({"one": ""}, "one", "one"),
        ({"one": "text"}, "one", "one"),
        ({"one": "", "two": ""}, "", ""),
        ({"one": "features", "two": "text", "three": ""}, "one", "two"),
        ({"one": "features", "two": ""}, "one", ""),
        ({"one": "features", "two": "features"}, "", ""),
        ({"one": "numbers", "two": "TEXT"}, "", ""),
    ],
)
def test_the_declared_one_else_the_only_one(models: dict[str, str], features: str, text: str) -> None:
    assert (unnamed_model(FEATURES, models), unnamed_model(TEXT, models)) == (features, text)


def test_the_error_lists_the_models_up_to_a_limit() -> None:
    assert must_name(["b", "a"]).detail == "model_name is missing, expected one of: a, b"
    many = [f"model-{number:03}" for number in range(500)]
    said = must_name(many).detail
    assert said.startswith("model_name is missing, expected one of: model-000, model-001, ")
    assert said.endswith("model-019 and 480 more")
    assert len(must_name(["x" * 1000]).detail) < 200
