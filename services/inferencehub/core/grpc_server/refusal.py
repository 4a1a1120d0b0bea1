"""How a handler that streams its answers ends a call with an error."""

from __future__ import annotations

from typing import Any

import grpc

from inferencehub.core.values.errors import HubError, bad_input

DETAIL_LIMIT = 1000  # bytes; gRPC encodes one byte as up to three, and accepts headers of at most 8 KiB


def end_with(context: Any, error: HubError) -> None:
    """Let a stream end with an error as soon as its handler returns.

    `context.abort` raises in the handler. gRPC keeps that exception, whose traceback has the handler's frame: a cycle with
    an asynchronous generator, which the garbage collector finds late. A caller could fill the memory with such streams.

    Args:
        context: the gRPC call.
        error: how it ends.
    """
    context.set_code(grpc.StatusCode[error.kind.grpc])
    context.set_details(sentence(error))


def refuse(context: Any, message: str) -> None:
    """Let a stream whose bytes are no message of this name end as soon as its handler returns; see `end_with`."""
    end_with(context, bad_input(no_message(message)))


def sentence(error: HubError) -> str:
    """The sentence of an error, cut to what gRPC takes."""
    return error.detail.encode(errors="replace")[:DETAIL_LIMIT].decode(errors="ignore")


def no_message(message: str) -> str:
    """The sentence for bytes that are not a message of this name."""
    return f"the bytes that came are not a {message}"
