"""Requests whose heads differ: only in the part that their name says."""

from __future__ import annotations

import re

from bench.parts.heads import CLIENTS, KINDS, REQUESTS, requests_of

OWN = re.compile(rb"(traceparent|authorization): [^\r]+\r\n")


def test_kinds_differ_by_their_own_line_alone() -> None:
    plain = requests_of("equal")
    assert len(set(plain)) == 1
    for kind in KINDS[1:]:
        requests = requests_of(kind)
        assert len(requests) == len(plain)
        assert {OWN.sub(b"", request) for request in requests} == set(plain)


def own_lines(kind: str) -> set[bytes]:
    """The different lines of a kind."""
    return {match[0] for request in requests_of(kind) if (match := OWN.search(request))}


def test_no_trace_comes_twice_and_each_client_has_a_token() -> None:
    traces = own_lines("traced")
    assert len(traces) == REQUESTS
    assert all(re.fullmatch(rb"traceparent: 00-\w{32}-\w{16}-01\r\n", trace) for trace in traces)
    assert len(own_lines("authorized")) == CLIENTS
