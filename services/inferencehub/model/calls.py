"""Calls of other models, as a Python model makes them with `context.call` and `context.call_sync`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

Parameter = bool | int | float | str


class CallError(Exception):
    """A call of another model failed.

    Args:
        model: the name of the model that was called.
        kind: what kind of error it is, such as "not_found", "busy" or "deadline"; docs/errors.md lists them.
        detail: a sentence that says what was expected and what came.
    """

    def __init__(self, model: str, kind: str, detail: str) -> None:
        super().__init__(f"call of model '{model}': {detail}")
        self.model = model
        self.kind = kind
        self.detail = detail


class ModelCall(NamedTuple):
    """A call of another model.

    Args:
        model, version: whom to call; version "" for the one that callers get who name none.
        inputs: an array, or what numpy reads as one, for each input by name; rows first if the model batches.
        outputs: names of the outputs that are wanted; () for all.
        parameters: for the model.
    """

    model: str
    version: str
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]


class ModelCalls(Protocol):
    """Makes the calls of one run of a model. Both give an array for each output by name."""

    async def call(self, call: ModelCall) -> dict[str, Any]:
        """Make a call, and wait on the event loop.

        Raises:
            CallError: if it fails.
        """

    def call_sync(self, call: ModelCall) -> dict[str, Any]:
        """Make a call, and block the thread until it is answered.

        Raises:
            CallError: if it fails.
        """
