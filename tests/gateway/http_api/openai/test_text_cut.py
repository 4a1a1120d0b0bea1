"""A text that is cut at stop sequences and at a number of tokens, however it comes in pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.gateway.http_api.openai.text_cut import TextCut
from inferencehub.gateway.json_codec.openai.counting import PIECE, TOKEN, count_tokens, is_word

WORDS = st.text("ab .é_", max_size=12)
STOPS = st.lists(st.text("ab .", min_size=1, max_size=4), max_size=4)


def shown(pieces: list[str], stops: list[str], most: int | None = None) -> tuple[list[str], str, int]:
    """What is given out piece by piece, the reason, and the tokens."""
    cut = TextCut(stops, most)
    given_out = [cut.feed(piece) for piece in pieces]
    if not cut.reason:
        given_out.append(cut.end())
    return given_out, cut.reason, cut.tokens


def expected(text: str, stops: list[str], most: int | None) -> tuple[str, str]:
    """The same of a whole text, by another rule: the first place where it may not go on."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return limited(text[: end - len(stop)], most, "stop")
    return limited(text, most, "")


def limited(text: str, most: int | None, reason: str) -> tuple[str, str]:
    """The part of a text that has at most so many tokens."""
    ends = [0] + [token.end() for token in re.finditer(r"\w+|[^\w\s]", text)]
    if most is None or len(ends) - 1 < most or ends[most] == len(text):
        return text, reason
    return text[: ends[most]], "length"


@given(st.lists(WORDS, max_size=6), STOPS, st.none() | st.integers(1, 5))
def test_the_pieces_make_no_difference(pieces: list[str], stops: list[str], most: int | None) -> None:
    given_out, reason, tokens = shown(pieces, stops, most)
    assert ("".join(given_out), reason) == expected("".join(pieces), stops, most)
    assert tokens == count_tokens("".join(given_out))


@pytest.mark.parametrize(
    ("pieces", "stops", "given_out", "reason"),
    [
        (["one ST", "OP two"], ["STOP"], ["one ", ""], "stop"),
        (["one S", "T", "ART"], ["STOP"], ["one ", "", "START", ""], ""),
        (["one S"], ["STOP"], ["one ", "S"], ""),
        (["a\n", "\nb"], ["\n\n"], ["a", ""], "stop"),
        (["abc"], ["abc", "b"], ["a"], "stop"),
        (["ab", "c"], ["abc", "b"], ["a", ""], "stop"),
        (["x", "STOP", "y"], ["STOP"], ["x", "", ""], "stop"),
    ],
)  # fmt: skip
def test_nothing_of_a_stop_sequence_is_shown(
    pieces: list[str], stops: list[str], given_out: list[str], reason: str
) -> None:
    assert shown(pieces, stops)[:2] == (given_out, reason)


def test_a_token_is_a_word_or_a_sign() -> None:
    assert count_tokens("It's 3.5 żółwie, snake_case!") == 10
    assert count_tokens(" \n") == 0


@pytest.mark.long
@given(st.text(max_size=20), st.text("a_é. \n٣½", max_size=20), st.integers(0, 5), st.booleans())
def test_tokens_are_those_of_the_rule(first: str, second: str, far: int, in_word: bool) -> None:
    """Also where a text is counted in pieces."""
    for text in (first + second, first.rjust(PIECE - far, ".") + second):
        goes_on = in_word and is_word(text[:1])
        assert count_tokens(text, in_word) == len(TOKEN.findall(text)) - goes_on
