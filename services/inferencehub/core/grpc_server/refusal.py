"""How a handler that streams its answers ends a call whose bytes are no message."""

from __future__ import annotations

from typing import Any

import grpc


def refuse(context: Any, message: str) -> None:
    """Let a stream end with INVALID_ARGUMENT as soon as its handler returns.

    `context.abort` raises in the handler. gRPC keeps that exception, whose traceback has the handler's frame: a cycle with
    an asynchronous generator, which the garbage collector finds late. A caller could fill the memory with such streams.

    Args:
        context: the gRPC call.
        message: name of the message that was expected.
    """
    context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
    context.set_details(no_message(message))


def no_message(message: str) -> str:
    """The sentence for bytes that are not a message of this name."""
    return f"the bytes that came are not a {message}"
