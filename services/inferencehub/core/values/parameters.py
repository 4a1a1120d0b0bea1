"""Which parameters of a request are the server's, in both tiers and for every protocol.

A parameter that the protocol or a client library defines, and that would change the answer, has its effect or is
refused by its name. The values at which it changes nothing are accepted. All other parameters of the whole request
belong to the model. All other parameters of an input or an output are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from inferencehub.core.values.errors import HubError, Kind, bad_input, shown
from inferencehub.core.values.requests import CALL_DEPTH, InferRequest, Parameter

TIMEOUT = "timeout"  # microseconds
BINARY_OUTPUT = "binary_data_output"  # has an effect in the binary tensor data extension only
CLASSIFICATION = "classification"
# Names that clients must not set.
RESERVED = frozenset(("headers",))
RESERVED_PREFIX = "triton_"
# The server's parameters of the whole request: which values change nothing, and what to expect.
NEUTRAL: dict[str, tuple[Callable[[Parameter], bool], str]] = {
    "sequence_id": (
        lambda value: value in (0, "") and not isinstance(value, bool),
        "0: there are no sequences",
    ),
    "sequence_start": (lambda value: value is False, "false: there are no sequences"),
    "sequence_end": (lambda value: value is False, "false: there are no sequences"),
    "priority": (lambda value: type(value) is int and value >= 0, "a whole number, which has no effect"),
    BINARY_OUTPUT: (lambda value: isinstance(value, bool), "true or false"),
    "triton_enable_empty_final_response": (lambda value: isinstance(value, bool), "true or false"),
}
# The server's parameters of an input or an output. Content types are MLServer's: these three are the tensor itself.
REGIONS = frozenset(("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"))
CONTENT_TYPE = "content_type"
PLAIN_TYPES = frozenset(("np", "str", "pd"))


def split_parameters(request: InferRequest) -> tuple[InferRequest, Parameter | None]:
    """Split a request into the request that the model gets and the parameter `timeout`.

    Requests merge only if their parameters are equal. Without the server's parameters, more requests can merge.

    Returns:
        The request with the model's parameters only, and the value of `timeout`; None if there is none.

    Raises:
        HubError: BAD_INPUT for a reserved name, UNSUPPORTED for a parameter whose effect this server does not have.
    """
    parameters = request.parameters
    if not parameters:
        return request, None
    mine = [name for name, value in parameters.items() if is_servers(name, value)]
    if not mine:
        return request, None
    rest = {name: value for name, value in parameters.items() if name not in mine}
    return replace(request, parameters=rest), parameters.get(TIMEOUT)


def is_servers(name: str, value: Parameter) -> bool:
    """Whether a parameter of the whole request is for the server; False if it is the model's.

    Raises:
        HubError: as `split_parameters`.
    """
    if name == TIMEOUT:
        return True
    neutral = NEUTRAL.get(name)
    if neutral is not None:
        changes_nothing, expected = neutral
        if not changes_nothing(value):
            raise HubError(
                Kind.UNSUPPORTED,
                f"parameter '{name}' is {shown(value)}, which is not supported, expected {expected}",
            )
        return True
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise reserved(name)
    if name == CONTENT_TYPE:
        check_content_type("the request", value)
    return False


def is_reserved(name: str) -> bool:
    """Whether a parameter of this name is none of the model's, whatever its value."""
    return name in (TIMEOUT, CONTENT_TYPE, CALL_DEPTH, *NEUTRAL, *RESERVED) or name.startswith(
        (RESERVED_PREFIX, "hub_")
    )


def reserved(name: str) -> HubError:
    """The error for a parameter that callers must not set."""
    return bad_input(f"parameter '{name[:80]}' is reserved, expected 'timeout' or parameters of the model")


def check_tensor_parameters(tensor: str, parameters: Mapping[str, object]) -> None:
    """Refuse parameters of an input or an output that would change the answer and are not done.

    Args:
        tensor: such as "input 'x'".
        parameters: its parameters.

    Raises:
        HubError: UNSUPPORTED that names the parameter.
    """
    for name, value in parameters.items():
        if name in REGIONS:
            raise HubError(
                Kind.UNSUPPORTED,
                f"{tensor}: parameter '{name}' is not supported, expected the tensor's data in the message itself",
            )
        if name == CONTENT_TYPE:
            check_content_type(tensor, value)


def check_content_type(where: str, value: object) -> None:
    """Refuse a content type that is another reading of a tensor's bytes, such as base64.

    Raises:
        HubError: UNSUPPORTED.
    """
    if value not in PLAIN_TYPES:
        raise HubError(
            Kind.UNSUPPORTED,
            f"{where}: parameter 'content_type' is {shown(value)}, expected one of {', '.join(sorted(PLAIN_TYPES))}: "
            "tensors are taken and given as they are",
        )


def class_count(output: str, parameters: Mapping[str, object]) -> int:
    """How many of its highest values an output is asked for, as classes; 0 for the plain tensor.

    Source: Open Inference Protocol, "classification extension".

    Raises:
        HubError: BAD_INPUT if the parameter `classification` is no whole number from 0.
    """
    count = parameters.get(CLASSIFICATION, 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31:
        raise bad_input(
            f"output '{output[:80]}': parameter 'classification' is {shown(count)}, expected the number of classes, "
            "a whole number from 0"
        )
    return count
