"""The process's end of the channel."""

from __future__ import annotations

import logging
import os
import select
import socket
from asyncio import to_thread
from collections.abc import Callable, Iterable
from itertools import count
from threading import Condition, Lock, Thread
from time import sleep
from typing import Any

from inferencehub.core.lane.sink import WINDOW
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Credit,
    Given,
    Inbox,
    Level,
    Measured,
    Message,
    NotGiven,
    Progress,
    Stop,
    frame,
)
from inferencehub.inference.runtimes.python_worker.asking import LEFT, Reply, asked_frame, outputs_of
from inferencehub.model import metrics
from inferencehub.model.calls import CallError, ModelCall

MEASURES_S = 0.25  # what is measured meanwhile is sent together


class Pipe:
    """The inherited socket, in blocking mode.

    During a call only credits, levels, `Stop` and the answers of other models come. They are read when somebody asks, from any
    thread of the model. While one thread waits for a frame, others that wait too get from it what it reads.
    """

    def __init__(self, fd: int) -> None:
        self.number = 0  # of the call that runs
        self._answered = True
        self._window = WINDOW  # see `core/lane/sink.py`
        self._stopped = False
        self._asked = count(1)
        self._answers: dict[int, Reply] = {}  # of other models, by their calls' numbers
        self._reader = 0  # the call of which a thread waits for a frame
        self._lock = Condition(Lock())
        self._sending = Lock()  # any thread of the model may tell its progress
        self._socket = socket.socket(fileno=fd)
        self._inbox = Inbox()
        self._poll = self._polled()  # only one thread at a time may use one: the lock guards this one
        # A process that the model starts must not keep the channel open after this process has ended.
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._socket.close)

    def receive(self) -> tuple[Message, memoryview] | None:
        """The next frame; None if the service has closed its end or is gone."""
        got = self._inbox.took(0)  # a frame may have come with the one before
        while got is None:
            try:
                count = self._socket.recv_into(self._inbox.room())
            except ConnectionError:
                return None
            if not count:
                return None
            got = self._inbox.took(count)
        return got

    def call(self) -> tuple[Call, memoryview] | None:
        """The next call; None if the service has closed its end or is gone."""
        while (got := self.receive()) is not None:
            message, body = got
            if isinstance(message, Call):
                self.number += 1
                self._answered = False
                self._window, self._stopped, self._answers = WINDOW, False, {}
                return message, body
            if isinstance(message, Level):
                logging.getLogger().setLevel(message.level)
            else:
                # It was meant for the call before.
                assert isinstance(message, Stop | Credit | Given | NotGiven)
        return None

    def over(self) -> None:
        """The call is answered: a thread of the model that outlives it reads nothing any more."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        with self._sending:
            self._answered = True

    def stopped(self, number: int) -> bool:
        """Whether the service does not want the answer to a call any more, or has gone, or the call is answered."""
        with self._lock:
            return number != self.number or not self._wanted()

    def tell(self, number: int, progress: float) -> None:
        """Say how far a call is, unless it is answered already."""
        with self._sending:
            if number == self.number and not self._answered:
                self._send(frame(Progress(progress)))

    def taken(self) -> tuple[socket.socket, Inbox]:
        """The socket, in non-blocking mode, and what has been read: for an event loop. The pipe is not used any more."""
        self._socket.setblocking(False)
        return self._socket, self._inbox

    def ask(self, number: int, call: ModelCall, most_bytes: int) -> dict[str, Any]:
        """The outputs of another model, which a thread of a call wants.

        Args:
            number: of the call.
            call: what it wants.
            most_bytes: see `asked_frame`.

        Raises:
            CallError: if the other call fails, or nobody waits for this one any more.
            TypeError: as `asked_frame`.
        """
        asked = next(self._asked)
        buffers = asked_frame(call, asked, most_bytes)
        with self._sending:
            sent = number == self.number and not self._answered and self._send(buffers)
        if not sent or not self._until(number, lambda: asked in self._answers):
            raise CallError(call.model, Kind.CALLER_LEFT.label, LEFT)
        return outputs_of(call.model, *self._answers.pop(asked))

    def give(self, weight: int) -> bool:
        """Note that one of several answers was sent, and wait until there may be another; False if nobody wants one."""
        self._window -= weight
        return self._until(self.number, lambda: self._window > 0)

    def _until(self, number: int, true: Callable[[], bool]) -> bool:
        """Read until something is true; False if nobody wants the answer to the call any more."""
        while True:
            with self._lock:
                while True:
                    if number != self.number or not self._wanted():
                        return False
                    if true():
                        return True
                    if self._reader != number:
                        break
                    self._lock.wait()  # another thread reads
                self._reader = number
            self._polled().poll()
            with self._lock:
                if self._reader == number:  # else it is that of a later call
                    self._reader = 0
                self._lock.notify_all()

    def _polled(self) -> select.poll:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return poll

    def _wanted(self) -> bool:
        # What another thread waits for is read by that one: else it would wait on.
        while not self._stopped and self._reader != self.number and (self._inbox.begun or self._poll.poll(0)):
            self._read()
        return not self._stopped

    def _read(self) -> None:
        got = self.receive()
        if got is not None and isinstance(got[0], Credit):
            self._window += got[0].size
        elif got is not None and isinstance(got[0], Level):
            logging.getLogger().setLevel(got[0].level)
        elif got is not None and isinstance(got[0], Given | NotGiven):
            self._answers[got[0].number] = got[0], got[1]
        else:
            self._stopped = True

    def send(self, buffers: Iterable[Buffer]) -> bool:
        """Send a frame; False if the service has closed its end or is gone."""
        with self._sending:
            return self._send(buffers)

    def _send(self, buffers: Iterable[Buffer]) -> bool:
        try:
            for buffer in buffers:
                self._socket.sendall(buffer)
        except ConnectionError:
            return False
        return True


class PipeCalls:
    """Calls of other models in one call, whose model runs in threads: see `ModelCalls`.

    Args:
        pipe: the socket; its present call is meant.
        most_bytes: bytes of the inputs of one of them, at most.
    """

    def __init__(self, pipe: Pipe, most_bytes: int) -> None:
        self._pipe, self._number, self._most_bytes = pipe, pipe.number, most_bytes

    async def call(self, call: ModelCall) -> dict[str, Any]:
        """See `ModelCalls`."""
        return await to_thread(self.call_sync, call)

    def call_sync(self, call: ModelCall) -> dict[str, Any]:
        """See `ModelCalls`."""
        return self._pipe.ask(self._number, call, self._most_bytes)


def send_measures(send: Callable[[Measured], bool]) -> None:
    """Send what the model measures, soon after it does, from a thread of its own, until `send` gives False."""

    def go_on() -> None:
        while metrics.changed.wait():
            sleep(MEASURES_S)
            if not all(send(Measured(family)) for family in metrics.take()):
                return

    Thread(target=go_on, name="measures", daemon=True).start()
