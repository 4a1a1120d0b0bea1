"""The table of error kinds."""

from __future__ import annotations

import grpc
import pytest

from inferencehub.core.values.errors import HubError, Kind, bad_input, shown

TABLE = {
    Kind.BAD_INPUT: (400, "INVALID_ARGUMENT"),
    Kind.UNAUTHENTICATED: (401, "UNAUTHENTICATED"),
    Kind.FORBIDDEN: (403, "PERMISSION_DENIED"),
    Kind.NOT_FOUND: (404, "NOT_FOUND"),
    Kind.WRONG_METHOD: (405, "UNIMPLEMENTED"),
    Kind.TOO_SLOW: (408, "DEADLINE_EXCEEDED"),
    Kind.TOO_LARGE: (413, "INVALID_ARGUMENT"),
    Kind.CONFLICT: (409, "FAILED_PRECONDITION"),
    Kind.GONE: (410, "NOT_FOUND"),
    Kind.KEY_REUSED: (422, "ALREADY_EXISTS"),
    Kind.WRONG_CODING: (415, "INVALID_ARGUMENT"),
    Kind.BUSY: (429, "RESOURCE_EXHAUSTED"),
    Kind.CALLER_LEFT: (499, "CANCELLED"),
    Kind.MODEL_FAILED: (500, "INTERNAL"),
    Kind.UNSUPPORTED: (501, "UNIMPLEMENTED"),
    Kind.NOT_READY: (503, "UNAVAILABLE"),
    Kind.DEADLINE: (504, "DEADLINE_EXCEEDED"),
}


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_its_statuses(kind: Kind) -> None:
    assert (kind.http, kind.grpc) == TABLE[kind]
    assert kind.grpc in grpc.StatusCode.__members__


def test_labels_and_http_statuses_tell_kinds_apart() -> None:
    assert len({kind.label for kind in Kind}) == len({kind.http for kind in Kind}) == len(Kind.__members__)


def test_only_busy_looks_busy_to_a_grpc_client() -> None:
    assert [kind for kind in Kind if kind.grpc == "RESOURCE_EXHAUSTED"] == [Kind.BUSY]


def test_an_error_carries_its_sentence() -> None:
    error = bad_input("features: expected numbers")
    assert isinstance(error, HubError)
    assert (error.kind, error.detail, str(error), error.retry_after) == (
        Kind.BAD_INPUT,
        "features: expected numbers",
        "features: expected numbers",
        1,
    )


def test_what_a_caller_sent_is_shown_cut() -> None:
    assert shown("short") == "'short'"
    assert shown("long" * 1000, 20) == "'longlonglonglonglo…"
    assert len(shown("long" * 1000, 20)) == 20
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    # Python 3.14 shows what older ones cannot.
    assert shown(deep) in ("a value that is nested too deeply", "[" * 59 + "…")
