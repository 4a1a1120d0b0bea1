"""Server reflection, v1 and v1alpha, from our own descriptor pool.

The messages of both versions are the same but for their package. So the servicer of grpcio-reflection answers both, and
the descriptors of v1 are made from those of v1alpha.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from inferencehub.core.grpc_server.coding import decoded
from inferencehub.core.grpc_server.refusal import refuse
from inferencehub.core.values.errors import HubError
from inferencehub.pb._pool import POOL

LONGEST = 2**16  # bytes of a request
SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def reflection_handlers(services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
    """The handlers of both versions.

    Args:
        services: names of the other services of the port.
    """
    alpha = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    newer = text_format.Parse(str(alpha).replace("v1alpha", "v1"), FileDescriptorProto())
    for file in (health_pb2.DESCRIPTOR.serialized_pb, alpha.SerializeToString(), newer.SerializeToString()):
        POOL.AddSerializedFile(file)
    servicer: Any = reflection.aio.ReflectionServicer((*services, *SERVICES), pool=POOL)

    async def answers(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for answer in servicer.ServerReflectionInfo(parsed(requests, context), context):
            yield answer

    info: Any = grpc.stream_stream_rpc_method_handler(
        answers, None, reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info}) for name in SERVICES]


async def parsed(
    requests: AsyncIterator[bytes], context: Any
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    """The messages of a stream. Bytes that are none end it with a clear status; gRPC itself would show a class name."""
    async for data in requests:
        try:
            request = reflection_pb2.ServerReflectionRequest.FromString(decoded(data, LONGEST)[0])
        except (DecodeError, HubError):
            refuse(context, "ServerReflectionRequest")
            return
        yield request
