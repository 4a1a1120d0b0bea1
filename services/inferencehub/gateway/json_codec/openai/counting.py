"""Counts tokens without a tokenizer, for models that do not count by themselves.

A word (letters, digits and underscores that stand together) is a token, and so is each other sign that is no space.
"""

from __future__ import annotations

import re

TOKEN = re.compile(r"\w+|[^\w\s]")
# Signs that are counted in one call: some ms. All other threads wait for one call, and so does the event loop.
PIECE = 2**16


def is_word(sign: str) -> bool:
    """Whether a sign is part of a word."""
    return sign.isalnum() or sign == "_"


def shape_of(sign: str) -> str:
    """What a sign is: "a" for a part of a word, " " for a space, "." for another sign."""
    return "a" if is_word(sign) else " " if sign.isspace() else "."


class Shapes(dict[int, str]):
    """The shapes of signs by their code points, as far as they were asked for; for `str.translate`."""

    def __missing__(self, code: int) -> str:
        self[code] = shape_of(chr(code))
        return self[code]


ASCII = bytes(ord(shape_of(chr(code))) for code in range(128)).ljust(256)


def count_tokens(text: str, in_word: bool = False) -> int:
    """The number of tokens in a text. With `in_word`, a word at its begin goes on from the text before and is not counted.

    It counts where words begin, without making them: a text may be as large as a body.
    """
    found = 0
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        shapes = piece.encode().translate(ASCII) if piece.isascii() else piece.translate(Shapes()).encode()
        begins = shapes.startswith(b"a") and not in_word
        found += begins + shapes.count(b" a") + shapes.count(b".a") + shapes.count(b".")
        in_word = shapes.endswith(b"a")
    return found
