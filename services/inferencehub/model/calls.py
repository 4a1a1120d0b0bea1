"""Calls of other models, as a Python model makes them with `context.call` and `context.call_sync`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def asked(
    model: str,
    version: str,
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    parameters: Mapping[str, Parameter] | None,
) -> ModelCall:
    """A call as a model's code gives it, which no type checker may have seen; see `ModelCall`.

    Raises:
        TypeError: if a name is no text, or a parameter is neither a text, a number nor a bool.
    """
    if isinstance(outputs, str):
        raise TypeError(f"the outputs of the call are {outputs!r}, expected a list of names")
    names = {"model": model, "version": version}
    for what, name in (*names.items(), *(("input", x) for x in inputs), *(("output", x) for x in outputs)):
        if not isinstance(name, str):
            raise TypeError(f"the {what} of the call is {name!r:.80}, expected a text")
    given: Mapping[Any, Any] = parameters or {}
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, Parameter):
            raise TypeError(
                f"parameter {key!r:.80} of the call is {value!r:.80}, expected a text, a number or a bool"
            )
    return ModelCall(model, version, inputs, tuple(outputs), given)


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
