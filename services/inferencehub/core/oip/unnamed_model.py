"""Which model a /predict gets that names none. The gateway and the pods have the same rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from inferencehub.core.values.errors import HubError, bad_input, listed

DEFAULT_FOR = "default_for"  # the parameter of config.pbtxt; its value is one of the kinds below
FEATURES, TEXT = KINDS = ("features", "text")


def kind_of(text: str | None) -> str:
    """The kind of a request: TEXT, or FEATURES if `text` is None."""
    return FEATURES if text is None else TEXT


def unnamed_model(kind: str, models: Mapping[str, str]) -> str:
    """The model of a request that names none: the one that says `default_for` this kind, else the only one.

    Args:
        kind: FEATURES or TEXT.
        models: all models by name, each with its parameter `default_for`; "" if it has none.

    Returns:
        The model's name; "" if the request must name one.
    """
    declared = [name for name, default_for in models.items() if default_for == kind]
    if len(declared) == 1:
        return declared[0]
    return next(iter(models)) if len(models) == 1 else ""


def must_name(models: Iterable[str]) -> HubError:
    """The error of a request that must name one of `models`."""
    return bad_input(f"model_name is missing, expected one of: {listed(sorted(models))}")
