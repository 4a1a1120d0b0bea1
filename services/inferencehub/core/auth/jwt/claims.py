"""Which claims of a token say who its holder is, and what they may do: a small table that is a setting.

    {"id": "sub", "tenant": "org", "models": "hub.models",
     "actions": {"infer": {"scope": "predict"}, "control": {"realm_access.roles": "admin"}}}

A claim is named as it is, or by its path through objects, with dots. Its value is a text or a list of texts; a text is a
list of words, as `scope` is (RFC 8693, 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from inferencehub.core.auth.caller import Action, Caller
from inferencehub.core.auth.key_file import USUAL

LONGEST = 200  # characters of an id or a tenant
MOST_PATTERNS = 100  # of models


class ClaimTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which claims to read.

    Args:
        id: who the holder is; shown in access lines.
        tenant: whom the holder belongs to; "" for none.
        models: patterns of the models that the holder may use; "" for all. Without the claim, it is none.
        actions: for an action a claim, and the word that it must have. {} for those of a key that names none.
    """

    id: str = "sub"
    tenant: str = ""
    models: str = ""
    actions: dict[Action, dict[str, str]] = {}

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """Who the holder of a token with these claims is.

        Raises:
            ValueError: if a claim is missing or of another kind; the text names it.
        """
        id = name_in(claims, self.id)
        tenant = name_in(claims, self.tenant) if self.tenant else ""
        models = words_in(claims, self.models) if self.models else ["*"]
        if len(models) > MOST_PATTERNS:
            raise ValueError(
                f"its claim '{self.models}' has {len(models)} patterns, expected {MOST_PATTERNS} at most"
            )
        actions = [
            action
            for action, words in self.actions.items()
            if any(word in words_in(claims, claim) for claim, word in words.items())
        ]
        return Caller(id, tenant, models, actions if self.actions else USUAL, who=f"the token of '{id}'")


def read_claims(text: str) -> ClaimTable:
    """The table in a setting.

    Raises:
        ValueError: if it is no such table.
    """
    try:
        table = msgspec.json.decode(text.encode(), type=ClaimTable) if text else ClaimTable()
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    for words in table.actions.values():
        for word in words.values():
            if len(word.split()) != 1:
                raise ValueError(f"actions have '{word}', expected one word")
    return table


def value_of(claims: Mapping[str, Any], name: str) -> Any:
    """The value of a claim, None if it is not there."""
    if name in claims:  # names may have dots of their own: https://example.com/models
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def name_in(claims: Mapping[str, Any], name: str) -> str:
    """The text in a claim that must be there."""
    value = value_of(claims, name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        raise ValueError(f"its claim '{name}' must be a text of 1 to {LONGEST} printable characters")
    return value


def words_in(claims: Mapping[str, Any], name: str) -> list[str]:
    """The words in a claim, [] if it is not there."""
    value = value_of(claims, name)
    if value is None:
        return []
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise ValueError(f"its claim '{name}' must be a text or a list of texts")
