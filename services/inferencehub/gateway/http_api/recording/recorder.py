"""Writes recorded calls to the folder, in a thread of its own.

The event loop only appends to a queue, whose bytes are bounded together with those of the calls that run: what finds no place is
dropped and counted. A disk that is full, slow or gone costs no call anything.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from queue import Empty, SimpleQueue
from time import monotonic

from inferencehub.gateway.http_api.recording.entry import Withheld, line_of
from inferencehub.gateway.http_api.recording.folder import Folder
from inferencehub.gateway.http_api.recording.outcomes import DROPPED, FAILED, LARGE, WITHHELD, WRITTEN
from inferencehub.gateway.http_api.recording.tape import Tape

logger = logging.getLogger(__name__)

MOST_HELD = 32 * 2**20  # bytes of calls that are being recorded or wait to be written
FLUSH_S = 0.2  # how long a call waits for others that are written with it
TOGETHER = 2**18  # bytes that are written at a time
TELL_S = 60.0  # between two lines in the log that say that the folder takes nothing
END_S = 5.0  # how long a process waits at its end until all are written


class Recorder:
    """See the module's text. `hold`, `release` and `put` are for the event loop's thread alone.

    Args:
        folder: where calls are written.
        counts: gets the number of calls by what became of them, one of `OUTCOMES`.
        most_held: bytes of calls that run or wait.
    """

    def __init__(self, folder: Folder, counts: Counter[str], most_held: int = MOST_HELD) -> None:
        self.counts = counts
        self._folder = folder
        self._most_held = most_held
        self._queue: SimpleQueue[Tape | None] = SimpleQueue()
        self._taken = self._given = self._done = (
            0  # bytes; each has only one thread that writes it, so none needs a lock
        )
        self._ending = threading.Event()
        self._told = -TELL_S
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    @property
    def held(self) -> int:
        """Bytes of calls that run or wait."""
        return self._taken - self._given - self._done

    def hold(self, size: int) -> bool:
        """See `Room`. A call that finds none is counted as dropped."""
        if self.held + size > self._most_held:
            self.counts[DROPPED] += 1
            return False
        self._taken += size
        return True

    def release(self, size: int) -> None:
        """See `Room`."""
        self._given += size

    def put(self, tape: Tape) -> None:
        """Take a call that has ended."""
        self._queue.put(tape)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, and wait for that at most `END_S`."""
        self._ending.set()
        self._queue.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, END_S)

    def _run(self) -> None:
        ends = False
        while not ends:
            tapes = [self._queue.get()]
            self._ending.wait(FLUSH_S)
            try:
                while True:
                    tapes.append(self._queue.get_nowait())
            except Empty:
                ends = None in tapes
            self._write_all([tape for tape in tapes if tape is not None])
        self._folder.close()

    def _write_all(self, tapes: list[Tape]) -> None:
        waiting: list[bytes] = []
        size = 0
        for tape in tapes:
            line = self._line_of(tape)
            if size + len(line) > TOGETHER:
                self._write(waiting)
                waiting, size = [], 0
            if line:
                waiting.append(line)
                size += len(line)
        self._write(waiting)

    def _line_of(self, tape: Tape) -> bytes:
        """The line of a call; b"" if it gets none."""
        held, line = tape.held, b""
        try:
            line = line_of(tape)
            if len(line) > self._folder.most_line:
                self.counts[LARGE] += 1
                line = b""
        except Withheld:
            self.counts[WITHHELD] += 1
        except Exception:  # the thread must not end before the process
            self.counts[FAILED] += 1
            logger.exception("call not recorded")
        tape.clear()
        self._done += held
        return line

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        try:
            self._folder.write(b"".join(lines))
        except Exception as error:
            self.counts[FAILED] += len(lines)
            if monotonic() - self._told >= TELL_S:
                self._told = monotonic()
                logger.warning("calls not recorded", extra={"error": str(error)})
        else:
            self.counts[WRITTEN] += len(lines)
