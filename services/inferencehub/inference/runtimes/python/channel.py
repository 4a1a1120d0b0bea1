"""Frames between the service and a python model's process, over a socket pair.

A frame is a prefix, a header (one of the structs below, as msgpack) and the tensors' raw bytes. Each tensor is padded
to a multiple of 8 bytes, so numpy finds it aligned. Only one call is active at a time; a process that may have several in
flight has as many socket pairs. One frame answers it. If the
model gives several answers, there is one frame for each answer and a last one, and the service sends credits back. Where
somebody wants to know how far the call is, frames say it. What the model measures comes at any time. This file opens no socket: both sides read into `Inbox.room` and report the number of bytes to `Inbox.took`.

docs/architecture.md says why this is a socket and not shared memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct as Layout

from inferencehub.core.lane.sink import weight_of
from inferencehub.core.values.requests import CALL_DEPTH, NO_CALLERS, Callers, InferRequest, Parameter
from inferencehub.core.values.signature import TensorSpec
from inferencehub.core.values.structs.struct import Decoder, Encoder, MsgspecError, Struct
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.model.metrics import Family

PREFIX = Layout("<QQ")  # bytes of the header, bytes of all tensors with their padding
ROOM = 1 << 17
JOINED = 1 << 16  # up to this size, one copy is cheaper than a write of several buffers
ALIGNED = 8
LONGEST = 1 << 40  # more than any memory: a longer frame must be invalid
HEADERS = 1 << 20  # bytes that a frame may have beside its tensors' own: header and padding


class Load(Struct, tag="load", array_like=True):
    """The first frame to a process: what to load, the outputs that its answers must have, and the level of its log.

    `reader` is the module of ours whose `Model` reads a model file without code; it gets `config`, the model's config, and
    tells the outputs itself. "" is a user's own `model.py`. `device` is the GPU that the reader puts the model on, or -1, and
    `allow_pickle` says whether the reader may load one.
    """

    model: str
    version: str
    log_level: int
    directory: str
    file: str
    parameters: dict[str, str]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    decoupled: bool
    max_answer_bytes: int
    max_in_flight: int = 1
    reader: str = ""
    config: bytes = b""
    device: int = -1
    allow_pickle: bool = False


class Ready(Struct, tag="ready", array_like=True):
    """The model has loaded; where a reader has read it, what its file says: inputs, outputs, the classes' names, who wrote it."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    classes: tuple[str, ...] = ()
    written: str = ""


class ModelFailed(Struct, tag="failed", array_like=True):
    """The model failed to load or to answer: a sentence for the caller, and a traceback for the log.

    `refused` means that the model rejected the request's input.
    """

    detail: str
    trace: str = ""
    refused: bool = False


class Stop(Struct, tag="stop", array_like=True):
    """Nobody waits for the answer any more. A process that runs no call ignores it."""


class Credit(Struct, tag="credit", array_like=True):
    """Answers of this weight have reached the caller: the window is wider again. Without a call it is ignored."""

    size: int


class Level(Struct, tag="level", array_like=True):
    """The process logs from this level of the module `logging` on; it may come at any time."""

    level: int


class Done(Struct, tag="done", array_like=True):
    """The end of a call to which the model gave several answers."""


class Progress(Struct, tag="progress", array_like=True):
    """How far a call is, from 0 to 1; more frames follow."""

    value: float


class Measured(Struct, tag="measured", array_like=True):
    """What the model has measured; it may come at any time."""

    family: Family


class Part(Struct, array_like=True):
    """A tensor without its bytes; `size` is their number."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


class Tensors(Struct, tag="tensors", array_like=True):
    """The outputs of a call; `more` if they are one of several answers."""

    parts: tuple[Part, ...]
    more: bool = False

    def over(self, body: memoryview) -> tuple[Tensor, ...]:
        """The tensors, as views of the bytes in `body`."""
        offset, tensors = 0, []
        for part in self.parts:
            data = body[offset : offset + part.size]
            tensors.append(Tensor(part.name, part.dtype, part.shape, data))
            offset += part.size + -part.size % ALIGNED
        return tuple(tensors)


class Call(Tensors, tag="call", array_like=True):
    """The inputs of a call, and what `InferRequest` says about it; `deadline` in seconds of `time.monotonic`.

    `watched` says whether anybody wants to know how far it is.
    """

    parameters: Mapping[str, Parameter] = {}
    callers: Callers = NO_CALLERS
    deadline: float = 0.0
    watched: bool = False


class Asked(Tensors, tag="asked", array_like=True):
    """A call of another model that the model makes, with its inputs; its answer has the same `number`."""

    number: int = 0
    model: str = ""
    version: str = ""
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = {}


class Unasked(Struct, tag="unasked", array_like=True):
    """The model does not wait for this call of another model any more."""

    number: int


class Given(Tensors, tag="given", array_like=True):
    """The outputs of a call of another model."""

    number: int = 0


class NotGiven(Struct, tag="notgiven", array_like=True):
    """A call of another model that failed: the label of the error's kind, and a sentence."""

    number: int
    kind: str
    detail: str


Message = (
    Load | Ready | ModelFailed | Stop | Credit | Level | Done | Progress | Measured | Tensors | Call
    | Asked | Unasked | Given | NotGiven
)  # fmt: skip

encoder = Encoder()
decoder: Decoder[Message] = Decoder(Message)


def frame(message: Message, tensors: Sequence[Tensor] = ()) -> list[Buffer]:
    """A frame as a list of buffers, to be sent in order; a small frame is one buffer."""
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


def parts_of(tensors: Sequence[Tensor]) -> tuple[Part, ...]:
    """The tensors without their bytes."""
    return tuple([Part(tensor.name, tensor.dtype, tensor.shape, len(tensor.data)) for tensor in tensors])


def call_frame(request: InferRequest, deadline: float, watched: bool) -> list[Buffer]:
    """The frame of a call; `deadline` in seconds of `time.monotonic`, `watched` as in `Call`."""
    parts, parameters = parts_of(request.inputs), request.parameters
    if CALL_DEPTH in parameters:  # it is not for the model
        parameters = {name: value for name, value in parameters.items() if name != CALL_DEPTH}
    call = Call(parts, False, parameters, request.callers, deadline, watched)
    return frame(call, request.inputs)


def answer_frame(outputs: Sequence[Tensor], more: bool = False) -> list[Buffer]:
    """The frame of an answer; `more` if it is one of several."""
    return frame(Tensors(parts_of(outputs), more), outputs)


def passed_on(
    emit: Callable[[tuple[Tensor, ...], int], None],
    tell: Callable[[float], None] | None,
    message: Message,
    body: memoryview,
) -> None:
    """Hand on what a call sends before its last frame.

    Args:
        emit: takes the tensors of one of several answers, and their weight.
        tell: takes progress; None if nobody wants to know.
        message, body: the frame.
    """
    if isinstance(message, Tensors):
        emit(message.over(body), weight_of(sum([part.size for part in message.parts])))
    elif isinstance(message, Progress) and tell is not None:
        tell(message.value)


class Inbox:
    """Assembles frames from the bytes that a socket delivers.

    Args:
        most: bytes of the longest frame that is accepted. A longer one is refused before there is memory for it.
    """

    def __init__(self, most: int = LONGEST) -> None:
        self.most = most
        self._kept = memoryview(bytearray(ROOM))
        self._view = self._kept
        self._filled = 0
        self._header = 0
        self._total = 0

    def room(self) -> memoryview:
        """The buffer to read the next bytes into."""
        return self._view[self._filled : self._total or None]

    @property
    def begun(self) -> bool:
        """Whether bytes of the next frame have come."""
        return self._filled > 0

    def took(self, count: int) -> tuple[Message, memoryview] | None:
        """Take `count` bytes that were read into `room()`.

        Returns:
            The frame's message and its tensors' bytes, in memory that is not used again, so a model may write to its
            inputs; None if the frame is incomplete. The bytes may contain another frame after it: call `took(0)` to get
            that.

        Raises:
            ValueError: if the bytes are not a valid frame.
        """
        self._filled += count
        if not self._total:
            if self._filled < PREFIX.size:
                return None
            self._header, size = PREFIX.unpack_from(self._view)
            start = PREFIX.size + self._header
            self._total = start + -start % ALIGNED + size
            if self._total > self.most:
                raise ValueError(f"a frame of {self._total} bytes, expected at most {self.most}")
            if self._total > ROOM:
                self._view = memoryview(bytearray(self._total))
                self._view[: self._filled] = self._kept[: self._filled]
        if self._filled < self._total:
            return None
        end = PREFIX.size + self._header
        try:
            message = decoder.decode(self._view[PREFIX.size : end])
        except MsgspecError as error:
            raise ValueError(f"a header that cannot be read: {error}") from None
        body = self._view[end + -end % ALIGNED : self._total]
        # The next frame overwrites the kept buffer, so its bytes are copied. A large frame has its own buffer.
        body = memoryview(bytearray(body)) if self._view is self._kept else body
        behind = self._filled - self._total
        if behind:  # only in the kept buffer: a frame's own buffer is exactly as large as the frame
            self._kept[:behind] = self._kept[self._total : self._filled]
        self._view, self._filled, self._total = self._kept, behind, 0
        return message, body
