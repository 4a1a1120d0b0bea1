"""The process's end of the channel."""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable, Iterable
from threading import Lock, Thread
from time import sleep

from inferencehub.core.lane.sink import WINDOW
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Credit,
    Inbox,
    Level,
    Measured,
    Message,
    Progress,
    Stop,
    frame,
)
from inferencehub.model import metrics

MEASURES_S = 0.25  # what is measured meanwhile is sent together


class Pipe:
    """The inherited socket, in blocking mode.

    During a call only credits, levels and `Stop` come. They are read when somebody asks, from any thread of the model.
    """

    def __init__(self, fd: int) -> None:
        self.number = 0  # of the call that runs
        self._answered = True
        self._window = WINDOW  # see `core/lane/sink.py`
        self._stopped = False
        self._lock = Lock()
        self._sending = Lock()  # any thread of the model may tell its progress
        self._socket = socket.socket(fileno=fd)
        self._inbox = Inbox()
        # Two objects, because only one thread at a time may use one: the lock guards the first.
        self._poll, self._waiting = select.poll(), select.poll()
        for poll in (self._poll, self._waiting):
            poll.register(fd, select.POLLIN)
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
                self._window, self._stopped = WINDOW, False
                return message, body
            if isinstance(message, Level):
                logging.getLogger().setLevel(message.level)
            else:
                assert isinstance(message, Stop | Credit)  # it was meant for the call before
        return None

    def over(self) -> None:
        """The call is answered: a thread of the model that outlives it reads nothing any more."""
        with self._lock:
            self._stopped = True
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

    def give(self, weight: int) -> bool:
        """Note that one of several answers was sent, and wait until there may be another; False if nobody wants one."""
        self._window -= weight
        while True:
            with self._lock:
                if not self._wanted():
                    return False
                if self._window > 0:
                    return True
            self._waiting.poll()

    def _wanted(self) -> bool:
        while not self._stopped and (self._inbox.begun or self._poll.poll(0)):
            self._read()
        return not self._stopped

    def _read(self) -> None:
        got = self.receive()
        if got is not None and isinstance(got[0], Credit):
            self._window += got[0].size
        elif got is not None and isinstance(got[0], Level):
            logging.getLogger().setLevel(got[0].level)
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


def send_measures(send: Callable[[Measured], bool]) -> None:
    """Send what the model measures, soon after it does, from a thread of its own, until `send` gives False."""

    def go_on() -> None:
        while metrics.changed.wait():
            sleep(MEASURES_S)
            if not all(send(Measured(family)) for family in metrics.take()):
                return

    Thread(target=go_on, name="measures", daemon=True).start()
