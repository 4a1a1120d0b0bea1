"""The exporter, against a real collector that takes spans, is slow, refuses, or is not there."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

import pytest

from inferencehub.core.traces import encoding
from inferencehub.core.traces.exporter import Exporter
from inferencehub.core.traces.post import Post
from tests.authority import Authority
from tests.collector import Collector, collecting
from tests.ports import free_port

PROCESS = (("service.name", "tested"), ("service.instance.id", "here"))


class Numbers:
    """A span for each number; an `Encoder`."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def add(self, left: Sequence[int]) -> None:
        now, kind = time_ns(), encoding.fixed("one", encoding.INTERNAL, (("sound", True), ("share", 0.5)))
        for number in left:
            self.parts += encoding.span(b"t" * 16, number, now, now + 1, b"", kind)

    def request(self) -> bytes:
        parts, self.parts = self.parts, []
        return encoding.request({PROCESS: parts}) if parts else b""


@contextmanager
def exporting(url: str, **changed: Any) -> Iterator[Exporter]:
    """An exporter to a collector."""
    chosen = {"most_waiting": 100, "most_together": 10, "delay_s": 0.02, "within_s": 30.0, **changed}
    compress = chosen.pop("compress", False)
    post = Post(f"{url}/v1/traces", {"x-token": "secret"}, 10.0, "", compress)
    exporter = Exporter(Numbers(), post, **chosen, counts=Counter())
    exporter.start()
    try:
        yield exporter
    finally:
        exporter.close(10.0)


def wait(condition: Any) -> None:
    """Wait until a condition holds."""
    ends = monotonic() + 30
    while not condition():
        assert monotonic() < ends
        sleep(0.005)


def numbers_of(collector: Collector) -> list[int]:
    return [int.from_bytes(one.span.span_id, "little") for one in collector.spans]


@pytest.mark.parametrize("compress", [False, True])
def test_what_calls_leave_comes_to_the_collector_in_order(compress: bool) -> None:
    with collecting() as collector:
        with exporting(collector.url, compress=compress) as exporter:
            for number in range(1, 36):
                exporter.put(number)
        assert numbers_of(collector) == list(range(1, 36))
        assert exporter.counts == {"sent": 35}
        assert collector.headers[0]["x-token"] == "secret"
        assert collector.spans[0].facts == {"sound": True, "share": 0.5}
        assert collector.spans[0].service == "tested"


def test_one_that_is_stuck_costs_no_call_anything_and_what_finds_no_place_is_counted() -> None:
    with collecting() as collector:
        collector.stuck = threading.Event()
        with exporting(collector.url) as exporter:
            for number in range(1, 11):
                exporter.put(number)
            wait(lambda: exporter.waiting == 0)  # these are on their way
            for number in range(11, 1011):
                exporter.put(number)
            assert exporter.waiting == 100
            assert exporter.counts == {"dropped": 900}
            collector.stuck.set()
            wait(lambda: exporter.counts["sent"] == 110)
        assert numbers_of(collector) == list(range(1, 111))


def test_one_that_is_busy_is_asked_again() -> None:
    with collecting() as collector:
        collector.answer = 503
        with exporting(collector.url) as exporter:
            exporter.put(1)
            wait(lambda: collector.requests >= 2)
            collector.answer = 200
            wait(lambda: exporter.counts["sent"] == 1)
        assert numbers_of(collector) == [1]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_one_that_refuses_is_not_asked_again(status: int) -> None:
    with collecting() as collector:
        collector.answer = status
        with exporting(collector.url) as exporter:
            exporter.put(1)
            wait(lambda: exporter.counts["failed"] == 1)
            collector.answer = 200
            exporter.put(2)
        assert (numbers_of(collector), exporter.counts) == ([2], {"failed": 1, "sent": 1})


def test_what_it_rejects_in_its_answer_counts_as_failed() -> None:
    with collecting() as collector:
        collector.rejects = 2
        with exporting(collector.url) as exporter:
            for number in range(1, 11):
                exporter.put(number)
        assert exporter.counts == {"sent": 8, "failed": 2}


def test_calls_whose_spans_can_not_be_made_count_as_failed() -> None:
    with collecting() as collector:
        with exporting(collector.url) as exporter:
            exporter.put(-1)  # no id of a span
            wait(lambda: exporter.counts["failed"] == 1)
            exporter.put(2)
        assert (numbers_of(collector), exporter.counts) == ([2], {"failed": 1, "sent": 1})


def test_one_that_is_not_there_is_given_up_in_time() -> None:
    with exporting(f"http://127.0.0.1:{free_port()}", within_s=0.3) as exporter:
        exporter.put(1)
        wait(lambda: exporter.counts["failed"] == 1)


def test_a_header_that_can_not_be_sent_is_not_shown() -> None:
    with collecting() as collector:
        post = Post(f"{collector.url}/v1/traces", {"x-token": "secret\r\n"}, 10.0, "", False)
        assert post(b"", 1.0).why == "ValueError"


def test_the_end_does_not_wait_for_one_that_is_stuck() -> None:
    with collecting() as collector:
        collector.stuck = threading.Event()
        post = Post(f"{collector.url}/v1/traces", {}, 60.0, "", False)
        exporter = Exporter(Numbers(), post, 100, 10, 0.01, 60.0, Counter())
        exporter.start()
        exporter.put(1)
        wait(lambda: exporter.waiting == 0)
        began = monotonic()
        exporter.close(0.2)
        assert monotonic() - began < 20


def test_what_waits_when_the_time_is_over_is_not_sent() -> None:
    with collecting() as collector:
        post = Post(f"{collector.url}/v1/traces", {}, 60.0, "", False)
        exporter = Exporter(Numbers(), post, 100, 10, 60.0, 60.0, Counter())
        for number in range(1, 36):
            exporter.put(number)
        exporter.close(0.0)
        exporter.start()
        wait(lambda: exporter.counts == {"failed": 35})
        assert not collector.requests


@contextmanager
def asking(collector: Collector) -> Iterator[Exporter]:
    """An exporter whose first request has come."""
    with exporting(collector.url) as exporter:
        exporter.put(1)
        wait(lambda: collector.requests == 1)
        yield exporter


def test_a_pause_that_it_asks_for_is_kept_at_the_end_too() -> None:
    with collecting() as collector:
        collector.answer, collector.after = 503, "1"
        with asking(collector) as exporter:
            collector.answer = 200
            exporter.close(10.0)
            assert exporter.counts == {"sent": 1}
        first, second = collector.asked
        assert second - first >= 0.9


def test_a_pause_that_it_asks_for_and_that_has_no_time_at_the_end_is_the_end() -> None:
    with collecting() as collector:
        collector.answer, collector.after = 503, "20"
        with asking(collector) as exporter:
            exporter.close(5.0)
            assert exporter.counts == {"failed": 1}
        assert collector.requests == 1


def test_one_that_is_busy_at_the_end_is_asked_at_once_and_then_with_pauses() -> None:
    with collecting() as collector:
        collector.answer = 503
        with asking(collector) as exporter:
            exporter.close(2.0)
            wait(lambda: exporter.counts == {"failed": 1})
        _, second, third, *_ = collector.asked
        assert third - second >= 0.4


@pytest.mark.parametrize("secure", [False, True])
def test_one_that_drips_its_answer_is_cut_off_in_time(tmp_path: Path, secure: bool) -> None:
    authority = Authority(tmp_path, "traces")
    context, trusted = None, ""
    if secure:
        context, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(authority.certificate)
        context.load_cert_chain(*authority.signed("collector"))
    with collecting(context) as collector:
        post = Post(f"{collector.url}/v1/traces", {}, 0.5, trusted, False)
        assert post(b"", 10.0).sent
        collector.drips = True
        began = monotonic()
        for _ in range(2):  # on the connection that it has kept, and on a new one
            answer = post(b"", 10.0)
            assert (answer.sent, answer.again, answer.why) == (False, True, "it did not answer within 0.5 s")
        assert monotonic() - began < 15
        collector.drips = False
        assert post(b"", 10.0).sent
        post.close()
