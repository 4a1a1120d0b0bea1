"""What a load or an unload at the gateway asks for, and its change as messages for pods."""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.core.oip.extension import REVISION
from inferencehub.core.values.errors import HubError, Kind, bad_input, shown
from inferencehub.gateway.routing.control.wishes import Wish
from inferencehub.pb import open_inference_pb2 as pb

CONFIG, FILE, DEPENDENTS = "config", "file:", "unload_dependents"
MOST_BYTES = 2**16  # of a configuration; the store keeps it, and each gateway has it in memory

Parameters = Mapping[str, bool | int | str | bytes]


def config_of(parameters: Parameters) -> str:
    """The configuration that a load brings; "" for that of the repository. Pods check what is in it.

    Raises:
        HubError: UNSUPPORTED for files, TOO_LARGE for a large configuration, BAD_INPUT for any other parameter.
    """
    for key, value in parameters.items():
        if key.startswith(FILE):
            raise HubError(
                Kind.UNSUPPORTED,
                f"parameter {shown(key)}: a gateway takes no files, for pods that start later would not have them; put them "
                "into the repository of the pods, and load the model then",
            )
        if key != CONFIG or not isinstance(value, str):
            raise bad_input(
                f"parameter {shown(key)} of a load is unknown or has another type, expected '{CONFIG}' with a text"
            )
        if (size := len(value.encode())) > MOST_BYTES:
            raise HubError(
                Kind.TOO_LARGE, f"parameter '{CONFIG}' has {size} bytes, expected {MOST_BYTES} at most"
            )
    return str(parameters.get(CONFIG, ""))


def takes_steps(parameters: Parameters) -> bool:
    """Whether an unload takes the models of an ensemble's steps along.

    Raises:
        HubError: BAD_INPUT for any other parameter.
    """
    for key, value in parameters.items():
        if key != DEPENDENTS or not isinstance(value, bool):
            raise bad_input(
                f"parameter {shown(key)} of an unload is unknown or has another type, expected '{DEPENDENTS}' with true or false"
            )
    return parameters.get(DEPENDENTS) is True


def request_of(wish: Wish) -> pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest:
    """What a pod is told of a wish."""
    parameters = {REVISION: pb.ModelRepositoryParameter(int64_param=wish.revision)}
    if not wish.loaded:
        return pb.RepositoryModelUnloadRequest(model_name=wish.model, parameters=parameters)
    if wish.config:
        parameters[CONFIG] = pb.ModelRepositoryParameter(string_param=wish.config)
    return pb.RepositoryModelLoadRequest(model_name=wish.model, parameters=parameters)
