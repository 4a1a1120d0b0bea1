"""The file of traffic: what it may say, and the sentence about what it may not."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from inferencehub.gateway.routing.traffic.contents import read_traffic
from tests.pages import page

NUMBER = "expected a version, which is a whole number,"


def test_an_alias_may_stand_where_a_version_stands() -> None:
    text = b"""{"models": {"m": {"weights": {"stable": 90, "2": 10}, "aliases": {"stable": "1", "canary": "2"}}}}"""
    entry = read_traffic(text)["m"]
    assert entry.shares == {"1": 90, "2": 10}
    assert entry.versions == {"1", "2"}
    assert [entry.version(name) for name in ("stable", "canary", "1", "7")] == ["1", "2", "1", "7"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"weight": {}},
            "Object contains unknown field `weight`, expected some of: weights, aliases, sticky, rollback, shadow",
        ),
        (
            {"weights": {"1": 1, "2": 1}, "rollback": {"version": "2", "p99": 5}},
            "Object contains unknown field `p99` in rollback, expected some of: version, error_share, p99_ms, calls, "
            "window_s",
        ),
        (
            {"shadow": {"version": "2", "share": 1, "rate": 1}},
            "Object contains unknown field `rate` in shadow, expected some of: version, share",
        ),
        ({"weights": []}, "Expected `object`, got `array` - at `$.weights`"),
        (
            {"weights": {"1": 1, "2": -1}},
            "weights has a wrong value for '2': Expected `float` >= 0.0",
        ),
        ({"weights": {"1": "90"}}, "weights has a wrong value for '1': Expected `float`, got `str`"),
        ({"aliases": {"a": 1}}, "aliases has a wrong value for 'a': Expected `str`, got `int`"),
        ({"weights": {"1": 0, "2": 0}}, "weights is '1': 0, '2': 0, expected one above 0 at least"),
        ({"weights": {"": 1}}, f"weights has '', {NUMBER} or an alias, but there are none"),
        (
            {"weights": {"stabel": 100}, "aliases": {"stable": "1", "canary": "2"}},
            f"weights has 'stabel', {NUMBER} or one of the aliases stable, canary",
        ),
        ({"weights": {"1": 1, "v2": 0}}, f"weights has 'v2', {NUMBER} or an alias, but there are none"),
        (
            {
                "weights": {"1": 1, "2": 1},
                "rollback": {"version": "canry", "p99_ms": 5},
                "aliases": {"canary": "2"},
            },
            f"rollback has 'canry', {NUMBER} or one of the aliases canary",
        ),
        (
            {"shadow": {"version": "canry", "share": 1}, "aliases": {"canary": "2"}},
            f"shadow has 'canry', {NUMBER} or one of the aliases canary",
        ),
        (
            {"weights": {"1": 1, "old": 1}, "aliases": {"old": "1"}},
            "weights has version '1' twice: by an alias, and by its own name or another one",
        ),
        (
            {"aliases": {"3": "1"}},
            "the alias '3' must begin with a letter and have at most 63 letters, digits, '_', '.' or '-', so that it is "
            "never taken for a version",
        ),
        ({"aliases": {"a": "b", "b": "1"}}, f"the alias 'a' stands for 'b', {NUMBER[:-1]}"),
        ({"aliases": {"a": "v2"}}, f"the alias 'a' stands for 'v2', {NUMBER[:-1]}"),
        (
            {"weights": {"1": 1}, "sticky": "X-User"},
            "sticky is 'X-User', expected the name of a header in lower case",
        ),
        (
            {"shadow": {"version": "", "share": 1}},
            f"shadow has '', {NUMBER} or an alias, but there are none",
        ),
        ({"shadow": {"version": "2", "share": 10}}, "Expected `float` <= 1.0 - at `$.shadow.share`"),
        ({"sticky": "x-user"}, "sticky is there without weights, expected both or none"),
    ],
)
def test_a_bad_entry_is_refused_with_a_sentence_that_names_the_model(
    entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match="model 'fraud': ") as refused:
        read_traffic(msgspec.json.encode({"models": {"good": {}, "fraud": entry}}))
    assert str(refused.value) == f"model 'fraud': {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"m": {}}', "Object contains unknown field `m`, expected some of: models"),
        (b'{"models": []}', "Expected `object`, got `array` - at `$.models`"),
    ],
)
def test_what_is_no_such_file_is_refused(text: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_traffic(text)
    assert str(refused.value) == sentence


def test_the_files_in_the_documentation_are_read() -> None:
    files = re.findall(r"^ *```json\n(.*?)^ *```$", page("docs/traffic.md"), re.MULTILINE | re.DOTALL)
    assert len(files) >= 4
    for text in files:
        assert read_traffic(text.encode())
