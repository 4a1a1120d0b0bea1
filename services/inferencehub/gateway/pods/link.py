"""What a replica needs of its pod, how a pod stands, and how a call to it may fail. A foreign server is another link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

import grpc

from inferencehub.core.oip import extension
from inferencehub.core.traces.context import Trace
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.requests import Times
from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

# How a call ends that was not answered.
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
# The raw contents of a request, each in parts.
Contents = Sequence[Sequence[Buffer]]


class Parts(NamedTuple):
    """Who takes what comes of a call before its end.

    Args:
        answer: gets each of several answers, a ModelInferResponse, and what credits answers to the pod; None if the model
            gives one.
        progress: gets how far the call is, from 0 to 1; None if nobody wants to know.
    """

    answer: Callable[[Any, Callable[[int], None]], None] | None = None
    progress: Callable[[float], None] | None = None


Part = Parts | None  # None if nothing does
Message = pb.ModelInferRequest
Place = Trace | None  # of a call in its trace; None if it has none


class PodState(Enum):
    """What the metrics show of a pod."""

    CONNECTING = "connecting"  # not reached yet
    UP = "up"
    NOT_SERVING = "not_serving"  # reached, and it wants no work: loading or draining
    SILENT = "silent"  # missed a heartbeat, or broke a call
    LOST = "lost"  # ejected, tried again with backoff


class Failed(Exception):
    """The pod ended a call with an error.

    Args:
        code: the gRPC status.
        detail: the text of the status.
        refused: whether the pod never started the call, so that it may go to another pod.
        kind: the kind of the error; None if the pod did not say it.
        times: how long it waited and ran; None if the pod did not say it.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        detail: str,
        refused: bool = False,
        kind: Kind | None = None,
        times: Times | None = None,
    ) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
        self.detail = detail
        self.refused = refused
        self.kind = kind
        self.times = times


def failed(error: grpc.aio.AioRpcError) -> Failed:
    """The `Failed` for a gRPC call's error."""
    trailers = {name: str(value) for name, value in error.trailing_metadata() or ()}
    kind = extension.kind_of(trailers.get(extension.KIND, ""), error.code().name)
    return Failed(error.code(), error.details() or "", extension.REFUSED in trailers, kind)


class Lost(Exception):
    """The pod gave no answer.

    Args:
        how: what was seen, such as "no connection".
        silent: whether the pod was silent; False for a broken connection.
    """

    def __init__(self, how: str, silent: bool = False) -> None:
        super().__init__(how)
        self.silent = silent


def lost(error: grpc.aio.AioRpcError) -> Lost:
    """The `Lost` for a gRPC call that was not answered."""
    return Lost(error.code().name, silent=error.code() is grpc.StatusCode.DEADLINE_EXCEEDED)


def reason(error: Exception) -> str:
    """The text of an error, in one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)


class PodLink(Protocol):
    """A pod, as its replicas see it."""

    tries: bool  # whether it runs a job that was lost with another pod

    @property
    def address(self) -> str:
        """host:port."""

    @property
    def pool(self) -> str:
        """The pool that the pod reports; "" if it reports none."""

    @property
    def ours(self) -> bool:
        """Whether the pod has our extension of the protocol."""

    @property
    def takes_callers(self) -> bool:
        """Whether the pod takes who calls, for its access lines."""

    def serves(self, name: str) -> bool:
        """Whether the model `name` of this pod accepts work."""

    async def infer(
        self, message: Message, raw: Contents, timeout: float, large: bool, part: Part, trace: Place
    ) -> Any:
        """Call ModelInfer; see `Channel.infer`.

        Raises:
            Failed, Lost: as `Channel.infer`.
        """

    async def alive(self) -> None:
        """Wait until the pod has answered a small call.

        Raises:
            Lost: if it does not answer.
        """

    def tried(self) -> None:
        """The run of a job that was lost before has ended: another such job may run here."""

    def suspect(self) -> None:
        """A call broke: send no more work until the pod has answered a heartbeat."""


def home_of(pod: PodLink) -> str:
    """The pool of a pod, whose pods have the same models; the pod's own address if it reports no pool."""
    return pod.pool or pod.address
