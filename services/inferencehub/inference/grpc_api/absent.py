"""Methods of Triton's features that a pod does not have. Questions about them and their end succeed, as there is nothing."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from inferencehub.core.oip.admin.unsupported import no_region, unsupported
from inferencehub.inference.grpc_api.edge import Method
from inferencehub.pb import open_inference_pb2 as pb


def absent() -> dict[str, tuple[Method, type[Message] | None]]:
    """The methods by their names in the protocol, each with its request message."""
    return {
        "RepositoryModelLoad": (refusing("model control"), pb.RepositoryModelLoadRequest),
        "RepositoryModelUnload": (refusing("model control"), pb.RepositoryModelUnloadRequest),
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


def refusing(feature: str) -> Method:
    """A method that refuses a feature."""

    async def refuse(request: Any, context: Any) -> Message:
        raise unsupported(feature)

    return refuse


def no_regions(kind: str, response: type[Message]) -> Method:
    """A method that tells the shared memory regions, of which there are none."""

    async def regions(request: Any, context: Any) -> Message:
        if request.name:
            raise no_region(kind, request.name)
        return response()

    return regions


def nothing_to_end(response: type[Message]) -> Method:
    """A method that succeeds as in Triton, which does not look whether there was such a region."""

    async def end(request: Any, context: Any) -> Message:
        return response()

    return end
