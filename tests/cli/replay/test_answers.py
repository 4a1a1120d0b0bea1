"""Which answers are the same, and what is said of those that are not."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from inferencehub.cli.replay.answers import differences
from inferencehub.core.http1.recording.line import Body, body_of

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
TOLERANCE, IGNORED = 1e-6, frozenset(("id", "created"))


def compared(
    before: bytes, now: bytes, headers: dict[str, str], status: int = 200, now_status: int = 200
) -> list[str]:
    return differences(status, headers, body_of(before), now_status, headers, now, TOLERANCE, IGNORED)


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5000001, None, True, "x"]}),
        ({"id": "one", "created": 1, "a": {"id": 2}}, {"id": "two", "created": 2, "a": {"id": 3}}),
        ({"a": 1.0}, {"a": 1}),
        ({"a": 1e12}, {"a": 1.0000001e12}),
        ({"a": 1e-9}, {"a": 0.0}),
        ({"a": float("nan"), "b": 1}, {"b": 1, "a": float("nan")}),
        ({"a": [float("-inf"), 0.5]}, {"a": [float("-inf"), 0.5000001]}),
        ({"a": 1, "id": 2}, {"a": 1}),
    ],
)
def test_json_is_compared_by_value(before: Any, now: Any) -> None:
    assert compared(text(before), text(now) + b" ", JSON) == []


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, "$.a[1]: recorded 2, now 3"),
        ({"a": 1000000}, {"a": 1000001}, "$.a: recorded 1000000, now 1000001"),
        ({"a": 0.5}, {"a": 0.50001}, "$.a: recorded 0.5, now 0.50001"),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, "$.a: recorded 2 elements, now 3"),
        ({"a": True}, {"a": 1}, "$.a: recorded true, now 1"),
        ({"a": True}, {}, "$.a: recorded true, now it is not there"),
        ({}, {"a": "x" * 100}, f'$.a: not there when recorded, now "{"x" * 59}…'),
        ({"a": {}}, {"a": []}, "$.a: recorded {}, now []"),
        ({"a": None}, {"a": 0}, "$.a: recorded null, now 0"),
        ({"a": float("inf")}, {"a": float("nan")}, "$.a: recorded Infinity, now NaN"),
        ({"a": float("inf")}, {"a": 1.5}, "$.a: recorded Infinity, now 1.5"),
        ({"a": [float("-inf")]}, {"a": [float("inf")]}, "$.a[0]: recorded -Infinity, now Infinity"),
        ({"a": [True, 1]}, {"a": [1, 1]}, "$.a[0]: recorded true, now 1"),
        ({"a": [[{"b": True}]]}, {"a": [[{"b": 1}]]}, "$.a[0][0].b: recorded true, now 1"),
        ({"a": 10**400}, {"a": 0.5}, f"$.a: recorded 1{'0' * 59}…, now 0.5"),
    ],
)
def test_a_difference_is_said_with_its_place(before: Any, now: Any, said: str) -> None:
    assert compared(text(before), text(now), JSON) == [said]


def test_only_the_first_differences_of_an_answer_are_said() -> None:
    assert len(compared(text([0] * 100), text([1] * 100), JSON)) == 3


def test_statuses_come_before_bodies_and_sentences_of_errors_may_differ() -> None:
    assert compared(b"a", b"b", JSON, 429, 429) == []
    assert compared(b"a", b"no pod", JSON, 200, 503) == ['status: recorded 200, now 503: "no pod"']
    assert compared(b"a", b"b", JSON, 503, 200) == ["status: recorded 503, now 200"]


def tensors(raw: bytes, datatype: str) -> tuple[bytes, dict[str, str]]:
    output = {"name": "y", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": len(raw)}}
    head = text({"outputs": [output], "id": len(raw)})
    return head + raw, {**JSON, "inference-header-content-length": str(len(head))}


@pytest.mark.parametrize(
    ("datatype", "before", "near", "far"),
    [
        ("FP32", np.array([0.1, np.nan], "<f4").tobytes(), np.array([0.1000001, np.nan], "<f4").tobytes(), np.array([0.2, np.nan], "<f4").tobytes()),
        ("FP64", np.array([0.1, 5], "<f8").tobytes(), np.array([0.1000001, 5], "<f8").tobytes(), np.array([0.1, 6], "<f8").tobytes()),
        ("FP16", np.array([0.1, 5], "<f2").tobytes(), np.array([0.1, 5], "<f2").tobytes(), np.array([0.1, 6], "<f2").tobytes()),
        ("BF16", b"\x80\x3f\x00\x00", b"\x80\x3f\x00\x80", b"\x80\x3f\x80\x3f"),  # 1 and 0, -0, 1
        ("INT32", struct.pack("<2i", 1, 2), struct.pack("<2i", 1, 2), struct.pack("<2i", 1, 3)),
        ("BYTES", b"\x01\x00\x00\x00a", b"\x01\x00\x00\x00a", b"\x01\x00\x00\x00b"),
    ],
)  # fmt: skip
def test_tensors_that_came_as_bytes_are_compared_by_value(
    datatype: str, before: bytes, near: bytes, far: bytes
) -> None:
    recorded, headers = tensors(before, datatype)
    for now, same in ((near, True), (far, False)):
        body, now_headers = tensors(now, datatype)
        found = differences(200, headers, body_of(recorded), 200, now_headers, body, TOLERANCE, IGNORED)
        assert (found == []) is same, found
        assert same or found[0].startswith("$.outputs[0].data")


def test_bytes_behind_the_tensors_and_outputs_that_are_missing_are_found() -> None:
    recorded, headers = tensors(struct.pack("<2i", 1, 2), "INT32")
    found = differences(200, headers, body_of(recorded), 200, headers, recorded + b"more", TOLERANCE, IGNORED)
    assert [one.partition(":")[0] for one in found] == ["$"]
    [found_one] = differences(200, headers, body_of(recorded), 200, JSON, b"{}", TOLERANCE, IGNORED)
    assert found_one.startswith('$.outputs: recorded [{"name": "y"')


def test_answers_that_are_nested_too_deeply_are_compared_byte_by_byte() -> None:
    for depth in (990, 100_000):
        before, now = (b"[" * depth + value + b"]" * depth for value in (b"1", b"2"))
        assert compared(before, before, JSON) == []
        assert len(compared(before, now, JSON)) == 1


def test_the_names_of_events_are_compared() -> None:
    before = b'event: done\ndata: {"t": 1}\n\n'
    assert compared(before, before.replace(b" ", b""), EVENTS) == []
    assert compared(before, before.replace(b"done", b"error"), EVENTS) == [
        '$[0].event: recorded "done", now "error"'
    ]


def test_events_are_compared_one_by_one_without_comments() -> None:
    before = b'data: {"id": 1, "t": "a"}\n\n:\n\ndata: {"t": "b"}\n\ndata: [DONE]\n\n'
    assert (
        compared(before, b'data: {"id":2,"t":"a"}\n\ndata: {"t":"b"}\n\n:\n\ndata: [DONE]\n\n', EVENTS) == []
    )
    assert compared(before, before.replace(b"b", b"c"), EVENTS) == ['$[1].t: recorded "b", now "c"']
    assert compared(before, before.replace(b"data: [DONE]\n\n", b""), EVENTS) == [
        "$: recorded 3 elements, now 2"
    ]


def test_a_digest_says_only_whether_all_bytes_are_the_same() -> None:
    large = b"x" * 2_000_000
    digest = Body(sha256=sha256(large).hexdigest(), size=len(large))
    assert differences(200, JSON, digest, 200, JSON, large, TOLERANCE, IGNORED) == []
    assert differences(200, JSON, digest, 200, JSON, large + b" ", TOLERANCE, IGNORED) == [
        "body: recorded 2000000 bytes with another digest, now 2000001 bytes"
    ]


@pytest.mark.parametrize("broken", [b"{", b"", b"\xff\xfe", b'{"outputs": 5}'])
def test_what_can_not_be_read_is_compared_byte_by_byte(broken: bytes) -> None:
    for headers in (JSON, {**JSON, "inference-header-content-length": "14"}, {}):
        assert compared(broken, broken, headers) == []
        assert compared(broken, b"[1]", headers) != []
