"""Which heads are known, and for which requests."""

from typing import Any

import pytest

from inferencehub.gateway.http_api.heads import LARGEST, MOST, Head, KnownHeads
from tests.gateway.raw import request

ENDPOINT: Any = object()


def head_of(fields: dict[bytes, bytes], body: bytes) -> Head:
    return Head("/predict", fields, ENDPOINT, len(body))


def known(body: bytes = b"abc", *lines: str, **fields: bytes) -> tuple[KnownHeads, bytes]:
    """Heads after one request, and that request."""
    heads, whole = KnownHeads(), request("POST", "/predict", body, *lines)
    given = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    heads.learn(whole[: len(whole) - len(body)], head_of(given, body))
    return heads, whole


def test_the_same_head_is_found_with_any_body_of_its_size() -> None:
    heads, whole = known()
    found = heads.find(whole[:-3] + b"xyz")
    assert found == (head_of({}, b"abc"), len(whole) - 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole + b"P",
        lambda whole: whole + whole,
        lambda whole: whole.replace(b"hub", b"Hub"),
        lambda whole: b"\r\n" + whole,
        lambda whole: whole[:10],
        lambda whole: b"",
    ],
)
def test_whatever_differs_is_not_found(change: Any) -> None:
    heads, whole = known()
    assert heads.find(change(whole)) is None


def test_a_body_may_still_be_coming() -> None:
    heads, whole = known()
    for missing in (1, 3):
        assert heads.find(whole[:-missing]) == (head_of({}, b"abc"), len(whole) - 3)


@pytest.mark.parametrize("front", [b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n", b""])
def test_a_head_in_a_rarer_form_is_not_kept(front: bytes) -> None:
    heads = KnownHeads()
    heads.learn(front, head_of({}, b"abc"))
    assert heads.find(front) is None
    assert heads.find(b"\r\n\r\nabc") is None


def test_an_empty_body_is_a_body() -> None:
    heads, whole = known(b"")
    assert heads.find(whole) is not None
    assert heads.find(whole + b"x") is None


@pytest.mark.parametrize(
    "name", ["x_request_id", "traceparent", "transfer_encoding", "authorization", "cookie", "x_api_key"]
)
def test_what_cannot_come_again_or_is_secret_is_not_kept(name: str) -> None:
    heads, whole = known(b"abc", **{name: b"1"})
    assert heads.find(whole) is None


def test_what_is_large_is_not_kept() -> None:
    heads, whole = known(b"abc", "x-more: " + "x" * LARGEST)
    assert heads.find(whole) is None


def test_a_body_that_holds_the_end_of_a_head_is_no_matter() -> None:
    heads, whole = known(b"a\r\n\r\nb")
    assert heads.find(whole) == (head_of({}, b"a\r\n\r\nb"), len(whole) - 6)


def test_heads_are_bounded() -> None:
    heads = KnownHeads()
    for number in range(3 * MOST):
        heads.learn(request("POST", f"/{number}", b""), head_of({}, b""))
    found = sum(heads.find(request("POST", f"/{number}", b"")) is not None for number in range(3 * MOST))
    assert 0 < found <= MOST
