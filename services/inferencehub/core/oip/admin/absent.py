"""Methods of Triton's features that no tier has. Questions about them and their end succeed, as there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from inferencehub.core.oip.admin.unsupported import no_region, unsupported
from inferencehub.pb import open_inference_pb2 as pb

Answer = Callable[[Any], Message]  # the answer to a request; it may raise a `HubError`


def absent() -> dict[str, tuple[Answer, type[Message]]]:
    """The methods by their names in the protocol, each with its request message."""
    return {
        "SystemSharedMemoryStatus": (
            no_regions("system", pb.SystemSharedMemoryStatusResponse),
            pb.SystemSharedMemoryStatusRequest,
        ),
        "SystemSharedMemoryRegister": (refusing("shared memory"), pb.SystemSharedMemoryRegisterRequest),
        "SystemSharedMemoryUnregister": (
            nothing_to_end(pb.SystemSharedMemoryUnregisterResponse),
            pb.SystemSharedMemoryUnregisterRequest,
        ),
        "CudaSharedMemoryStatus": (
            no_regions("cuda", pb.CudaSharedMemoryStatusResponse),
            pb.CudaSharedMemoryStatusRequest,
        ),
        "CudaSharedMemoryRegister": (refusing("shared memory"), pb.CudaSharedMemoryRegisterRequest),
        "CudaSharedMemoryUnregister": (
            nothing_to_end(pb.CudaSharedMemoryUnregisterResponse),
            pb.CudaSharedMemoryUnregisterRequest,
        ),
    }


def refusing(feature: str) -> Answer:
    """A method that refuses a feature."""

    def refuse(request: Any) -> Message:
        raise unsupported(feature)

    return refuse


def no_regions(kind: str, response: type[Message]) -> Answer:
    """A method that tells the shared memory regions, of which there are none."""

    def regions(request: Any) -> Message:
        if request.name:
            raise no_region(kind, request.name)
        return response()

    return regions


def nothing_to_end(response: type[Message]) -> Answer:
    """A method that succeeds as in Triton, which does not look whether there was such a region."""

    def end(request: Any) -> Message:
        return response()

    return end
