"""Loads and unloads of models, as the protocol's messages have them."""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.pb import open_inference_pb2 as pb


def given(parameters: Mapping[str, pb.ModelRepositoryParameter]) -> dict[str, bool | int | str | bytes]:
    """The parameters of a load or an unload, by name; of those without a value, the name alone is read."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "bool_param")
        for name, value in parameters.items()
    }
