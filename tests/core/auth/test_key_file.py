"""The file of API keys: what is refused, by which sentence, and how its patterns and times are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.caller import ANYONE, Action, Caller
from inferencehub.core.auth.key_file import digest, new_key, read_keys
from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError, Kind

ONE = {"id": "ci", "sha256": "a" * 64}
NAMED = {"id": "ci", "certificate": "ci.example"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([{"sha256": "a" * 64}], "`id`"),
        ([{**ONE, "id": "other"}], "the id 'other' stands for callers who are not in the file"),
        ([{"id": "ci"}], "'ci' must have either sha256 or certificate"),
        ([{**ONE, "certificate": "a.example"}], "'ci' must have either sha256 or certificate"),
        (
            [NAMED, {**NAMED, "id": "cd", "certificate": "CI.example"}],
            "'cd' and 'ci' have the same certificate",
        ),
        ([{**ONE, "rates": 1}], "`rates`"),
        ([{**ONE, "models": "digits"}], "Expected `array`, got `str` - at `$.keys[0].models`"),
        ([{**ONE, "actions": ["fly"]}], "Invalid enum value 'fly'"),
        ([{**ONE, "id": "a b"}], "the id 'a b' must have 1 to 63 letters, digits, dots or dashes"),
        ([{**ONE, "id": ""}], "the id '' must have"),
        ([{**ONE, "sha256": "A" * 64}], "sha256 of 'ci' must be 64 digits 0-9 and a-f"),
        ([{**ONE, "not_after": "2027-01-31T00:00:00"}], "not_after of 'ci' must have a time zone"),
        ([{**ONE, "not_after": "tomorrow"}], "not_after"),
        ([{**ONE, "not_after": "0001-01-01T00:00:00+10:00"}], "not_after of 'ci' must be in 1970 or later"),
        ([{**ONE, "rate": 1e-300}], "rate"),
        ([{**ONE, "rate": 0}], "rate"),
        ([{**ONE, "concurrency": 0}], "concurrency"),
        ([{**ONE, "weight": 0}], "weight"),
        ([{**ONE, "burst": 3}], "'ci' has a burst without rate, expected both or none"),
        ([ONE, {**ONE, "sha256": "b" * 64}], "two keys have the id 'ci'"),
        ([ONE, {**ONE, "id": "cd"}], "'cd' and 'ci' have the same sha256"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, keys: list[dict[str, Any]], said: str
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    with pytest.raises(BadFile) as caught:
        ApiKeys(str(file), "HUB_API_KEYS")
    assert str(caught.value).startswith(f"HUB_API_KEYS ({file}) cannot be used: ")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"HUB_API_KEYS names .*/none, which cannot be read: No such file"):
        ApiKeys(str(tmp_path / "none"), "HUB_API_KEYS")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"\xff", b'{"keys": {}}', b"[" * 5000])
def test_text_that_is_no_such_file_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_keys(text)


def test_only_the_whole_key_is_known(tmp_path: Path) -> None:
    key = new_key("ci")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "ci", "sha256": digest(key.encode()).hex()}]}))
    keys = ApiKeys(str(file), "HUB_API_KEYS")
    assert keys.caller(key.encode()).id == "ci"
    for other in (
        key[:-1],
        key + "a",
        key.upper(),
        key.removeprefix("hub_ci_"),
        "",
        digest(key.encode()).hex(),
    ):
        with pytest.raises(HubError) as caught:
            keys.caller(other.encode())
        assert (caught.value.kind, caught.value.detail) == (Kind.UNAUTHENTICATED, "the key is unknown")


@pytest.mark.parametrize(
    ("patterns", "seen", "hidden"),
    [
        (["*"], ["a", "", "a/b\n"], []),
        ([], [], ["a", "", "*"]),
        (["v1-*", "digits"], ["v1-", "v1-mock", "digits"], ["v1", "digits2", "xv1-mock", "v1-mock\n"[::-1]]),
        (["a.c"], ["a.c"], ["abc", "a.c.d"]),
        (["m?", "[xy]"], ["m1", "x"], ["m", "m12", "xy"]),
        (["A"], ["A"], ["a"]),
    ],
)
def test_patterns_are_those_of_a_shell(patterns: list[str], seen: list[str], hidden: list[str]) -> None:
    caller = Caller("k", "", patterns, [Action.INFER])
    for _ in range(2):  # once found out, once kept
        assert [name for name in seen + hidden if caller.sees(name)] == seen


def test_who_is_asked_nothing_may_do_all() -> None:
    for action in Action:
        ANYONE.require(action)
    ANYONE.require_model("any")
