"""Counts tokens without a tokenizer, for models that do not count by themselves.

A word (letters, digits and underscores that stand together) is a token, and so is each other sign that is no space.
"""

from __future__ import annotations

import re

TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """The number of tokens in a text."""
    return sum(1 for _ in TOKEN.finditer(text))


def is_word(sign: str) -> bool:
    """Whether a sign is part of a word."""
    return sign.isalnum() or sign == "_"
