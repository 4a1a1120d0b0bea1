"""Stands before the edge and records a share of the calls. Where nothing is recorded, it is not there.

Only calls of models are recorded, and only whole ones: a call whose caller left, that was refused before its body was read, or
that became a job, is none that could be asked again.
"""

from __future__ import annotations

from functools import partial
from random import random

from inferencehub.core.http1.handler import Handler, Head, Reply, Request
from inferencehub.gateway.http_api.call import HttpCall
from inferencehub.gateway.http_api.recording.outcomes import LARGE
from inferencehub.gateway.http_api.recording.recorder import Recorder
from inferencehub.gateway.http_api.recording.tape import Tape, TapedReply, size_of

ACCEPTED = 202  # the call became a job
MOST_BODY = 4 * 2**20  # bytes of a request that is recorded
MOST_PATH = 2000  # bytes


class RecordingHandler:
    """See the module's text.

    Args:
        handler: what answers.
        recorder: takes what is recorded.
        share: of the calls, from 0 to 1.
    """

    def __init__(self, handler: Handler, recorder: Recorder, share: float) -> None:
        self._handler = handler
        self._recorder = recorder
        self._share = share
        self._running: dict[Request, Tape] = {}

    def plan(self, head: Head) -> Request:
        """See `Handler`."""
        return self._handler.plan(head)

    def begin(self, request: Request, reply: Reply) -> None:
        """See `Handler`."""
        if type(request) is HttpCall and random() < self._share:
            reply = self._taped(request, reply)
        self._handler.begin(request, reply)

    def left(self, request: Request) -> None:
        """See `Handler`."""
        self._forget(request)
        self._handler.left(request)

    def cut_off(self, request: Request, reply: Reply) -> None:
        """See `Handler`."""
        self._forget(request)
        self._handler.cut_off(request, reply)

    def _taped(self, call: HttpCall, reply: Reply) -> Reply:
        """A reply that notes the answer; the same one if the call is not recorded."""
        if call.error is not None or call.head.method != "POST" or len(call.head.path) > MOST_PATH:
            return reply
        if len(call.body) > MOST_BODY:
            self._recorder.counts[LARGE] += 1
            return reply
        size = size_of(call)
        if not self._recorder.hold(size):
            return reply
        tape = self._running[call] = Tape(call, size, self._recorder)
        return TapedReply(reply, tape, partial(self._ended, call))

    def _ended(self, call: HttpCall, whole: bool) -> None:
        tape = self._running.pop(call, None)
        if tape is None:
            return
        if whole and tape.status != ACCEPTED:
            self._recorder.put(tape)
        else:
            tape.drop()

    def _forget(self, request: Request) -> None:
        tape = self._running.pop(request, None)
        if tape is not None:
            tape.drop()
