"""Answers that are much larger than they were sent, as a line has them."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from hashlib import sha256

import pytest

from inferencehub.core.http1.recording.line import Body, body_of
from inferencehub.gateway.http_api.recording.entry import MOST_ANSWER, Withheld, answer_of, pieces_of

SECRET = b"a-secret-of-the-caller"


@pytest.mark.parametrize("size", [0, 1, MOST_ANSWER - 1, MOST_ANSWER, MOST_ANSWER + 1, 3 * MOST_ANSWER + 7])
def test_compressed_and_plain_answers_are_the_same(size: int) -> None:
    plain = b"0123456789"[:7] * (size // 7 + 1)
    plain = plain[:size]
    wanted = body_of(plain) if size <= MOST_ANSWER else Body(sha256=sha256(plain).hexdigest(), size=size)
    sent = ((plain, b""), (gzip.compress(plain, 1), b"gzip"), (zlib.compress(plain, 1), b"deflate"))
    for content, coding in sent:
        assert answer_of(pieces_of(content, coding), [SECRET]) == wanted


@pytest.mark.parametrize("place", [0, MOST_ANSWER - 10, 2 * MOST_ANSWER - 1, 3 * MOST_ANSWER - len(SECRET)])
def test_a_secret_is_found_also_between_two_pieces(place: int) -> None:
    plain = bytearray(3 * MOST_ANSWER)
    plain[place : place + len(SECRET)] = SECRET
    with pytest.raises(Withheld):
        answer_of(pieces_of(gzip.compress(bytes(plain), 1), b"gzip"), [b"another-long-secret-x", SECRET])


def test_an_answer_that_is_large_only_as_a_whole_takes_little_memory() -> None:
    sent = gzip.compress(bytes(64 * MOST_ANSWER), 1)
    tracemalloc.start()
    try:
        assert answer_of(pieces_of(sent, b"gzip"), [SECRET]).size == 64 * MOST_ANSWER
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * MOST_ANSWER


def test_a_compressed_answer_without_its_end_is_no_answer() -> None:
    with pytest.raises((ValueError, zlib.error)):
        answer_of(pieces_of(gzip.compress(b"x" * 1000)[:-9], b"gzip"), [])
