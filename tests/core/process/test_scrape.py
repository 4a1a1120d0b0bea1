"""A scrape has what prometheus_client writes, byte for byte, and the event loop runs while it is written."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from time import sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, Gauge, Info, PlatformCollector, Summary, generate_latest
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as read_text

from inferencehub.core.process.histogram import Histogram
from inferencehub.core.process.metrics import SECONDS
from inferencehub.core.process.ops_port import BUDGET_BYTES, OpsServer
from inferencehub.core.process.scrape.scrapes import SLICE_S, Scrapes, all_text
from inferencehub.core.process.scrape.written import CounterOfMany, Registry, Written
from tests.gateway.raw import Raw, request
from tests.programs import PROMTOOL, on_path

generate_openmetrics: Callable[[Any], bytes] = openmetrics_exposition.generate_latest
read_openmetrics: Callable[[str], Any] = openmetrics_parser.text_string_to_metric_families
LABELS = st.text(st.sampled_from('ab \\"\n{}%é,='), max_size=4)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 12, 999_999, 1_000_000, 12_345_678, 1e16]),
    st.floats(0, 1e9),
    st.just(float("inf")),
)
PIECES, LINE = 20, b"# so it goes\n"
ACCEPTED = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2",
    "application/openmetrics-text; version=1.0.0; escaping=dots",
    "text/plain;version=1.0.0;escaping=dots",
    "*/*",
)


def filled(values: list[tuple[str, float]]) -> Registry:
    """A registry with all kinds of collectors."""
    registry = Registry()
    PlatformCollector(registry=registry)
    Info("about", "a kind that the library writes", registry=registry).info({"a": "b"})
    gauge = Gauge("left", 'what is "left"\nhere \\', ("pool", "a1", "a"), registry=registry)
    counter = Counter("seen", 'what was "seen"\nso far', ("model",), registry=registry)
    summary = Summary("asked", "of the library too", registry=registry)
    theirs = TheirHistogram("their_seconds", "its own", ("model",), registry=registry)
    ours = Histogram("our_seconds", 'ours, "quoted"', ("front", "model"), SECONDS)
    bare = Histogram("bare_seconds", "ours, without labels", (), (1, 2))
    registry.register(ours)
    registry.register(bare)
    counts = {("", ""): 0.0}
    for name, value in values:
        gauge.labels(name, "x", name).set(-value)
        counter.labels(name).inc(value, exemplar={"trace_id": "c"} if value == 12 else None)
        summary.observe(value)
        theirs.labels(name).observe(value)
        ours.labels("http", name).observe(value)
        ours.labels("http", name).counts[3] += int(min(value, 1e12))
        ours.labels("http", name).show(value, "ab" * 16)
        bare.labels().observe(value)
        counts["t", name] = value
    many = CounterOfMany("many", "of many", ("tenant", "caller"), lambda: list(counts.items()))
    registry.register(many)
    return registry


@given(st.lists(st.tuples(LABELS, NUMBERS), max_size=6))
def test_it_is_what_the_library_writes(values: list[tuple[str, float]]) -> None:
    registry = filled(values)
    assert "".join(all_text(registry, openmetrics=False)) == generate_latest(registry).decode()
    assert "".join(all_text(registry, openmetrics=True)) == generate_openmetrics(registry).decode()


def values_of(families: Any) -> dict[Any, Any]:
    """All samples of families, with their exemplars."""
    return {
        (family.name, family.type, sample.name, *sorted(sample.labels.items())): (
            sample.value,
            sample.exemplar,
        )
        for family in families
        for sample in family.samples
    }


VALUES: list[tuple[str, float]] = [("a", 0.2), ('b"\\\n', 12), ("a", 2_000_000), ("c", 61.5)]


def test_parsers_read_the_same_values() -> None:
    registry = filled(VALUES)
    text, openmetrics = ("".join(all_text(registry, flag)) for flag in (False, True))
    seen = values_of(read_text(text))
    assert seen == values_of(read_text(generate_latest(registry).decode()))
    assert len(seen) > 3 * len(SECONDS)
    seen = values_of(read_openmetrics(openmetrics))
    assert seen == values_of(read_openmetrics(generate_openmetrics(registry).decode()))
    assert sum(exemplar is not None for _, exemplar in seen.values()) == 5


@pytest.mark.tools
def test_promtool_finds_no_fault() -> None:
    registry = Registry()
    ours = Histogram("our_seconds", "ours", ("front", "model"), SECONDS)
    registry.register(ours)
    registry.register(CounterOfMany("many", "of many", ("caller",), lambda: [(("a",), 1)]))
    ours.labels("http", 'a"\\').observe(1)
    text = "".join(all_text(registry, openmetrics=False))
    command = [on_path(PROMTOOL), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Endless(Written):
    """Writes lines for as long as `go_on`, and counts them; then fails if it is `broken`."""

    def __init__(self, broken: bool = False) -> None:
        self.go_on = not broken
        self.broken = broken
        self.lines = 0

    def collect(self) -> list[Any]:
        """Nothing."""
        return []

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        while self.go_on:
            self.lines += 10
            yield LINE.decode() * 10
        if self.broken:
            raise ValueError("it is broken")


class Slow(Written):
    """Each of its pieces takes a whole slice; notes in which pass of the loop each was written."""

    def __init__(self, pauses: bool = False) -> None:
        self.pauses = pauses
        self.passes = 0
        self.written_in: list[int] = []

    def collect(self) -> list[Any]:
        """Nothing."""
        return []

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        for _ in range(PIECES):
            sleep(SLICE_S)
            self.written_in.append(self.passes)
            yield "" if self.pauses else LINE.decode()
        yield LINE.decode()


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[OpsServer]:
    """An ops port."""
    server = OpsServer(0, registry, lambda: "", {})
    await server.start()
    yield server
    await server.stop(0)
    server.cut_off()


@pytest.mark.parametrize("accept", ACCEPTED)
async def test_the_port_answers_in_the_format_that_is_accepted(accept: str) -> None:
    registry = filled(VALUES)
    async with serving(registry) as server, Raw(server.port) as raw:
        answer = await raw.ask("GET", "/metrics", None, f"accept: {accept}")
        openmetrics = accept.startswith("application/openmetrics-text")
        kind = "application/openmetrics-text" if openmetrics else "text/plain"
        assert answer.headers["content-type"].startswith(kind)
        assert "dots" not in answer.headers["content-type"]
        read = read_openmetrics if openmetrics else read_text
        seen = values_of(read(answer.body.decode()))
        assert (
            seen["our_seconds", "histogram", "our_seconds_count", ("front", "http"), ("model", "c")][0] == 62
        )
        assert (await raw.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize("pauses", [False, True])
async def test_the_loop_runs_between_pieces_that_take_time(pauses: bool) -> None:
    registry, slow = Registry(), Slow(pauses)
    registry.register(slow)
    async with serving(registry) as server, Raw(server.port) as raw:
        await raw.send(request("GET", "/metrics"))
        while len(slow.written_in) < PIECES:
            slow.passes += 1
            assert slow.passes < 100_000
            await asyncio.sleep(0)
        assert (await raw.read()).body.count(LINE) == (1 if pauses else PIECES + 1)
    assert len(set(slow.written_in)) == PIECES, "each in a pass of its own"


async def test_who_does_not_read_is_waited_for() -> None:
    """And others are answered. The work ends when they leave."""
    registry, endless = Registry(), Endless()
    registry.register(endless)
    async with serving(registry) as server, Raw(server.port) as other:
        async with Raw(server.port) as leaves:
            for _ in range(2):
                await leaves.send(request("GET", "/metrics"))
                assert 0 < await paused(endless, other) < BUDGET_BYTES // len(LINE) // 2
                endless.go_on = False
                assert (await leaves.read()).body.count(LINE) == endless.lines
                endless.go_on, endless.lines = True, 0
            await leaves.send(request("GET", "/metrics"))
            await paused(endless, other)
        while any(str(Scrapes._answer.__qualname__) in repr(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def paused(endless: Endless, other: Raw) -> int:
    """The lines that were written until no more are, in the passes of the loop that others take too."""
    before = -1
    while before != endless.lines or not before:
        before = endless.lines
        for _ in range(10):
            assert (await other.ask("GET", "/healthz")).status == 200
    return before


async def test_several_scrapes_at_once_are_whole() -> None:
    registry = filled(VALUES)
    text = "".join(all_text(registry, openmetrics=False)).encode()
    async with serving(registry) as server:
        raws = [await Raw(server.port).__aenter__() for _ in range(10)]
        for raw in raws:
            await raw.send(request("GET", "/metrics"))
        answers = [await raw.read() for raw in raws]
        assert {b"our_seconds_bucket" in answer.body for answer in answers} == {True}
        assert min(len(answer.body) for answer in answers) > len(text)
        for raw in raws:
            await raw.__aexit__()


async def test_an_answer_that_fails_is_cut_off() -> None:
    registry = Registry()
    registry.register(Endless(broken=True))
    async with serving(registry) as server, Raw(server.port) as raw:
        await raw.send(request("GET", "/metrics"))
        assert not (await raw.closed()).endswith(b"0\r\n\r\n")
