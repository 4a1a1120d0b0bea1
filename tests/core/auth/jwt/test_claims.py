"""Who the holder of a token is, by a table of claims."""

from __future__ import annotations

from typing import Any

import pytest

from inferencehub.core.auth.jwt.claims import ClaimTable, read_claims

TABLE = """{"id": "azp", "tenant": "org.id", "models": "https://hub.example/models",
            "actions": {"infer": {"scope": "api:predict"}, "describe": {"scope": "api:predict", "roles": "viewer"},
                        "control": {"realm_access.roles": "admin"}}}"""
FULL: dict[str, Any] = {
    "azp": "robot",
    "org": {"id": "search"},
    "https://hub.example/models": ["digits", "v1-*"],
    "scope": "openid api:predict",
    "realm_access": {"roles": ["user", "admin"]},
}


def test_without_a_table_every_holder_may_call_all_models() -> None:
    caller = read_claims("").caller({"sub": "ada"})
    assert (caller.id, caller.tenant, caller.who) == ("ada", "", "the token of 'ada'")
    assert (sorted(caller.actions), caller.sees("any")) == (["describe", "infer"], True)


def test_claims_by_name_by_path_and_as_words() -> None:
    caller = read_claims(TABLE).caller(FULL)
    assert (caller.id, caller.tenant) == ("robot", "search")
    assert sorted(caller.actions) == ["control", "describe", "infer"]
    assert [caller.sees(name) for name in ("digits", "v1-a", "other")] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        ({"scope": "openid api:predictor"}, ["control"]),
        ({"scope": ["api:predict"]}, ["control", "describe", "infer"]),
        ({"realm_access": ["admin"]}, ["describe", "infer"]),
        ({"realm_access": None, "scope": "", "roles": "viewer"}, ["describe"]),
        ({"realm_access": {"roles": []}, "scope": None}, []),
    ],
)
def test_actions_need_their_word(change: dict[str, Any], actions: list[str]) -> None:
    assert sorted(read_claims(TABLE).caller({**FULL, **change}).actions) == actions


def test_without_the_claim_of_models_there_is_none() -> None:
    caller = ClaimTable(models="models").caller({"sub": "ada"})
    assert not caller.sees("digits")
    assert not caller.sees("")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"azp": None}, "its claim 'azp' must be a text of 1 to 200 printable characters"),
        ({"azp": ""}, "its claim 'azp' must be a text"),
        ({"azp": "\ud800"}, "its claim 'azp' must be a text"),
        ({"azp": "a\nb"}, "its claim 'azp' must be a text"),
        ({"https://hub.example/models": ["a"] * 101}, "has 101 patterns, expected 100 at most"),
        ({"azp": "x" * 201}, "its claim 'azp' must be a text"),
        ({"org": {}}, "its claim 'org.id' must be a text"),
        ({"org": "search"}, "its claim 'org.id' must be a text"),
        ({"scope": 7}, "its claim 'scope' must be a text or a list of texts"),
        ({"scope": ["a", 7]}, "its claim 'scope' must be a text or a list of texts"),
        ({"https://hub.example/models": {"a": 1}}, "its claim 'https://hub.example/models' must be a text or a"),
    ],
)  # fmt: skip
def test_claims_of_another_kind_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        read_claims(TABLE).caller({**FULL, **change})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "truncated"),
        ('{"user": "sub"}', "unknown field `user`"),
        ('{"actions": {"fly": {"a": "b"}}}', "Invalid enum value 'fly'"),
        ('{"actions": {"infer": {"scope": "a b"}}}', "actions have 'a b', expected one word"),
        ('{"models": ["a"]}', "Expected `str`, got `array`"),
    ],
)
def test_a_bad_table_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_claims(text)
