"""The place that recorded calls take while a disk that hangs lets none of them be written."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import cast

from inferencehub.core.http1.handler import Head
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.call import Endpoint, HttpCall, WayOut
from inferencehub.gateway.http_api.recording.folder import Folder
from inferencehub.gateway.http_api.recording.recorder import Recorder
from inferencehub.gateway.http_api.recording.tape import Tape, size_of

CALLS = 1000


def ended(recorder: Recorder, number: int, answer: memoryview) -> None:
    """A call that has been answered, and waits to be written."""
    fields = {b"header-%d" % one: b"%d of call %d" % (one, number) for one in range(8)}
    head = Head("POST", b"/predict", fields, None, "1.1", 30, True)
    exchange = Exchange(f"call-{number}")
    call = HttpCall(cast("WayOut", None), head, 1000, exchange, cast("Endpoint", None))
    call.body = b"%030d" % number
    size = size_of(call)
    assert recorder.hold(size)
    tape = Tape(call, size, recorder)
    tape.begin(200, b"content-type: application/json\r\nserver-timing: total;dur=%d\r\n" % number)
    for place in range(0, len(answer), 10):
        assert tape.add(answer[place : place + 10])
    tape.stop()
    recorder.put(tape)


def test_a_call_that_waits_counts_with_all_that_it_keeps(tmp_path: Path) -> None:
    recorder = Recorder(Folder(tmp_path, 2**20), Counter())  # it is not started, so nothing is written
    tracemalloc.start()
    try:
        for number in range(CALLS):  # each answer is a small part of a large message
            ended(recorder, number, memoryview(bytes(10_000))[:100])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < recorder.held < 4000 * CALLS
