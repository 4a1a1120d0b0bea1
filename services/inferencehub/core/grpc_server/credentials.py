"""A certificate as gRPC's servers and channels take it, and what is checked before a message is read.

A server asks for the certificate at each handshake, so a new one needs no restart. A channel keeps the one that it was
made with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from inspect import isasyncgenfunction
from typing import Any

import grpc

from inferencehub.core.auth.peer import ADDRESS, HOST, URI, Peer, address_in, name_of
from inferencehub.core.auth.proxies import FORWARDED
from inferencehub.core.grpc_server.unary import sentence
from inferencehub.core.tls.certificate import Certificate, Contents
from inferencehub.core.values.errors import HubError

# Of a certificate; the others are for people.
NAMES = (("peer_dns", HOST), ("peer_ip", ADDRESS), ("peer_uri", URI))
# Checks a call of the method with this name, by its context.
Check = Callable[[str, Any], None]
KINDS = "unary_unary", "unary_stream", "stream_unary", "stream_stream"


def server_credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Credentials of a port that shows the newest `certificate`; with authorities, clients must show one too."""
    used = certificate.contents

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """None for "as before"; gRPC calls it in a thread of its own."""
        nonlocal used
        if certificate.contents is used:
            return None
        used = certificate.contents
        return configuration(used)

    mutual = bool(used.authorities)
    # grpc's annotation leaves out the None that its documentation asks for.
    return grpc.dynamic_ssl_server_credentials(configuration(used), newest, mutual)  # type: ignore[arg-type]


def configuration(contents: Contents) -> grpc.ServerCertificateConfiguration:
    """A certificate as gRPC's type."""
    pairs = [(contents.key, contents.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, contents.authorities or None)


def secure_channel(
    address: str, options: list[tuple[str, int]], certificate: Certificate
) -> grpc.aio.Channel:
    """A channel with the newest `certificate`, which says which name the server must show, whatever its address is."""
    contents = certificate.contents
    credentials = grpc.ssl_channel_credentials(contents.authorities, contents.key, contents.chain)
    name = ("grpc.ssl_target_name_override", certificate.calls)
    return grpc.aio.secure_channel(address, credentials, [*options, name])


def peer_of(context: Any) -> Peer:
    """The other end of a call's connection."""
    shown = context.auth_context()
    names = [name_of(kind, name.decode()) for own, kind in NAMES for name in shown.get(own, ())]
    return Peer(address_in(context.peer()), tuple(name for name in names if name))


def fields_of(metadata: Any) -> dict[bytes, bytes]:
    """The metadata of a call as stages read it."""
    fields = {
        name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in metadata
    }
    if FORWARDED in fields:  # each proxy may add one of its own
        told = [value for name, value in metadata if name == FORWARDED.decode()]
        fields[FORWARDED] = ",".join(told).encode()
    return fields


class Admitting(grpc.GenericRpcHandler):
    """Handlers whose calls are checked before their messages are read.

    Args:
        handlers: of one or more services.
        check: gets a method's name and the call's context; what it raises becomes the call's status.
    """

    def __init__(self, handlers: grpc.GenericRpcHandler, check: Check) -> None:
        self._handlers = handlers
        self._check = check

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        found: Any = self._handlers.service(handler_call_details)
        if found is None:
            return None
        name = handler_call_details.method.rpartition("/")[2]
        return found._replace(**{kind: self._checked(getattr(found, kind), name) for kind in KINDS})

    def _checked(self, method: Any, name: str) -> Any:
        """A method that checks its caller first; None for None."""
        if method is None:
            return None

        async def one(request: Any, context: Any) -> Any:
            await self._admit(name, context)
            return await method(request, context)

        async def several(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._admit(name, context)
            async with aclosing(method(request, context)) as answers:
                async for answer in answers:
                    yield answer

        return several if isasyncgenfunction(method) else one

    async def _admit(self, name: str, context: Any) -> None:
        try:
            self._check(name, context)
            return
        except HubError as error:
            kind, detail = error.kind, sentence(error)
        await context.abort(grpc.StatusCode[kind.grpc], detail)
