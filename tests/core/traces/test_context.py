"""The context of a trace in headers, and which calls are kept."""

from __future__ import annotations

import pytest

from inferencehub.core.traces.context import joined, read_parent
from inferencehub.core.traces.sampling import SAMPLERS, Sampler, child_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOTHING = "0" * 32


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"01-{TRACE}-{SPAN}-00-what-comes-later", False),
    ],
)
def test_a_sound_parent_is_read(value: str, sampled: bool) -> None:
    assert read_parent(value.encode()) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"01-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{NOTHING}-{SPAN}-01",
        f"00-{TRACE}-{NOTHING[:16]}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_one_that_is_not_valid_begins_a_new_trace(value: str) -> None:
    assert read_parent(value.encode()) is None
    trace = Sampler(True, 1.0).begin({b"traceparent": value.encode(), b"tracestate": b"a=1"})
    assert trace.trace_id != TRACE
    assert (trace.parent_id, trace.state) == ("", "")


def test_what_came_is_passed_on_unless_it_is_too_long_or_not_printable() -> None:
    parent = f"00-{TRACE}-{SPAN}-01".encode()
    begin = Sampler(True, 0.0).begin
    trace = begin({b"traceparent": parent, b"tracestate": b"a=1,b=2"})
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, SPAN, True)
    assert trace.state == "a=1,b=2"
    for state in (b"a" * 513, b"\xff"):
        assert begin({b"traceparent": parent, b"tracestate": state}).state == ""


def test_headers_that_come_several_times_are_one_list() -> None:
    headers = [(b"tracestate", b"a=1"), (b"host", b"x"), (b"tracestate", b"b=2")]
    assert joined(headers) == {b"tracestate": b"a=1,b=2"}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("flag", [None, 0, 1])
def test_each_sampler_keeps_what_its_name_says(name: str, flag: int | None) -> None:
    by_parent, share = SAMPLERS[name]
    sampler = Sampler(by_parent, 0.5 if share is None else share)
    fields = {} if flag is None else {b"traceparent": f"00-{TRACE}-{SPAN}-0{flag}".encode()}
    kept = sum(sampler.begin(fields).sampled for _ in range(400)) / 400
    if flag is not None and by_parent:
        assert kept == flag
    elif share is not None:
        assert kept == share
    elif flag is None:
        assert 0.3 < kept < 0.7
    else:  # the id decides, as everywhere: its last half is a3ce…, and so beyond a half
        assert kept == 0
        assert Sampler(by_parent, 0.65).begin(fields).sampled


def test_a_child_has_the_trace_of_its_parent_and_ids_of_its_own() -> None:
    trace = Sampler(True, 1.0).begin({})
    child = child_of(f"{trace.parent} a=1")
    assert child is not None
    assert (child.trace_id, child.parent_id) == (trace.trace_id, trace.number.to_bytes(8, "little").hex())
    assert child.number != trace.number
    assert (child.sampled, child.state) == (True, "a=1")
    assert child_of(child.kept) is not None
    assert child.headers == {"traceparent": child.parent, "tracestate": "a=1"}
    assert child_of("") is None


@pytest.mark.parametrize("text", ["é", "\ud800", "\ufffd\0", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01é"])
def test_a_text_that_is_no_trace_goes_on_nowhere(text: str) -> None:
    assert child_of(text) is None


@pytest.mark.parametrize("state", ["é", "a=\r\n", "a" * 513])
def test_a_state_that_can_not_be_passed_on_is_left_out(state: str) -> None:
    child = child_of(f"00-{TRACE}-{SPAN}-01 {state}")
    assert child is not None
    assert child.state == ""
