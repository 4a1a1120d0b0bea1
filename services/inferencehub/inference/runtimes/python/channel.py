"""Frames between the service and a python model's process, over one socket pair.

A frame is a prefix, a header (one of the structs below, as msgpack) and the tensors' raw bytes, each padded to 8 so
that numpy finds them aligned. One call is under way at a time. It is answered by one frame, or, where the model gives several
answers, by one for each and a last one. This file opens no socket: both sides read into `Inbox.room` and say how much
came.

Why a socket and no shared memory stands in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct as Layout

import msgspec

from inferencehub.core.values.requests import Parameter
from inferencehub.core.values.signature import TensorSpec
from inferencehub.core.values.tensors import Buffer, Tensor, trusted

PREFIX = Layout("<QQ")  # bytes of the header, bytes of all tensors with their padding
ROOM = 1 << 17
JOINED = 1 << 16  # up to here one copy is cheaper than a gathering write
ALIGNED = 8
LONGEST = 1 << 40  # beyond any memory: what claims to be longer is no frame


class Load(msgspec.Struct, tag="load", array_like=True):
    """The first frame to a process: what to load and what its answers are held against."""

    model: str
    directory: str
    file: str
    parameters: dict[str, str]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int


class Ready(msgspec.Struct, tag="ready", array_like=True):
    """The model has loaded."""


class ModelFailed(msgspec.Struct, tag="failed", array_like=True):
    """The model did not load or answer: a sentence for the caller, a traceback for the log.

    `refused` says that the model found fault with the request.
    """

    detail: str
    trace: str = ""
    refused: bool = False


class Done(msgspec.Struct, tag="done", array_like=True):
    """The model has given several answers, and this call has ended."""


class Part(msgspec.Struct, array_like=True):
    """A tensor without its bytes, and how many those are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


class Tensors(msgspec.Struct, tag="tensors", array_like=True):
    """A call's inputs and parameters, or its outputs; `more` where these are one of several answers."""

    parts: tuple[Part, ...]
    parameters: Mapping[str, Parameter] = {}
    more: bool = False

    def over(self, body: memoryview) -> tuple[Tensor, ...]:
        """The tensors, looking at the bytes in `body`."""
        offset, tensors = 0, []
        for part in self.parts:
            data = body[offset : offset + part.size]
            tensors.append(trusted(part.name, part.dtype, part.shape, data))
            offset += part.size + -part.size % ALIGNED
        return tuple(tensors)


Message = Load | Ready | ModelFailed | Done | Tensors

encoder = msgspec.msgpack.Encoder()
decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def frame(message: Message, tensors: Sequence[Tensor] = ()) -> list[Buffer]:
    """A frame as buffers to send one after the other; one buffer where it is small."""
    body: list[Buffer] = []
    size = 0
    for tensor in tensors:
        count = len(tensor.data)
        body.append(tensor.data)
        if padding := -count % ALIGNED:
            body.append(bytes(padding))
        size += count + padding
    header = encoder.encode(message)
    header_padding = bytes(-(PREFIX.size + len(header)) % ALIGNED)
    head = b"".join((PREFIX.pack(len(header), size), header, header_padding))
    return [b"".join((head, *body))] if size <= JOINED else [head, *body]


def tensors_frame(
    tensors: Sequence[Tensor], parameters: Mapping[str, Parameter] = {}, more: bool = False
) -> list[Buffer]:
    """The frame of a call's inputs and parameters, or of its outputs."""
    parts = [Part(tensor.name, tensor.dtype, tensor.shape, len(tensor.data)) for tensor in tensors]
    return frame(Tensors(tuple(parts), parameters, more), tensors)


class Inbox:
    """Puts a frame together out of what a socket gives."""

    def __init__(self) -> None:
        self._kept = memoryview(bytearray(ROOM))
        self._view = self._kept
        self._filled = 0
        self._header = 0
        self._total = 0

    def room(self) -> memoryview:
        """Where to read to."""
        return self._view[self._filled : self._total or None]

    def took(self, count: int) -> tuple[Message, memoryview] | None:
        """Say that `count` bytes came; the frame's message and read-only tensor bytes once it is whole.

        Another frame may have come behind it: `took(0)` gives that.

        Raises:
            ValueError: where this is no frame.
        """
        self._filled += count
        if not self._total:
            if self._filled < PREFIX.size:
                return None
            self._header, size = PREFIX.unpack_from(self._view)
            start = PREFIX.size + self._header
            self._total = start + -start % ALIGNED + size
            if self._total > LONGEST:
                raise ValueError(f"a frame of {self._total} bytes")
            if self._total > ROOM:
                self._view = memoryview(bytearray(self._total))
                self._view[: self._filled] = self._kept[: self._filled]
        if self._filled < self._total:
            return None
        end = PREFIX.size + self._header
        try:
            message = decoder.decode(self._view[PREFIX.size : end])
        except msgspec.MsgspecError as error:
            raise ValueError(f"a header that cannot be read: {error}") from None
        body = self._view[end + -end % ALIGNED : self._total]
        # What came into the kept room is overwritten by the next frame; what needed a room of its own is not.
        body = memoryview(bytes(body)) if self._view is self._kept else body.toreadonly()
        behind = self._filled - self._total
        if behind:  # only in the kept room: one of its own is as large as its frame
            self._kept[:behind] = self._kept[self._total : self._filled]
        self._view, self._filled, self._total = self._kept, behind, 0
        return message, body
