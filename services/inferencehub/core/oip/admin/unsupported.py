"""Features of Triton that this server does not have: each of their calls is refused with a sentence that names it."""

from __future__ import annotations

from inferencehub.core.values.errors import HubError, Kind

FEATURES = {
    "model control": "models are not loaded or unloaded through a gateway without HUB_MODEL_LOADS; pods whose "
    "HUB_MODEL_CONTROL is explicit take such calls over gRPC",
    "tracing": "tracing is not supported: trace settings cannot be changed",
    "shared memory": "shared memory is not supported: tensors are sent in the message itself",
}


def unsupported(feature: str) -> HubError:
    """The error for a call of a feature that is not there; `feature` is a key of `FEATURES`."""
    return HubError(Kind.UNSUPPORTED, FEATURES[feature])


def no_region(kind: str, name: str) -> HubError:
    """The error for the status of a region; there are none."""
    return HubError(Kind.NOT_FOUND, f"there is no {kind} shared memory region '{name[:80]}'")
