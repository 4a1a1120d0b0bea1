"""What the file of traffic may say, as JSON: for each model the weights of its versions, and names for them.

    {"models": {"fraud": {"weights": {"1": 90, "2": 10},
                          "aliases": {"stable": "1", "canary": "2"},
                          "sticky": "x-user-id",
                          "rollback": {"version": "canary", "error_share": 0.05, "p99_ms": 100},
                          "shadow": {"version": "3", "share": 0.1}}}}

Wherever a version stands, one of the aliases may stand for it. Versions are whole numbers, and an alias never is one, so a
name that is neither is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec

from inferencehub.core.values.errors import listed
from inferencehub.gateway.routing.traffic.rollback import RollbackEntry
from inferencehub.gateway.routing.traffic.shadow import ShadowEntry

Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
VERSION = re.compile(r"[0-9]+")
HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")  # a token of RFC 9110, in lower case


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry of a model.

    Args:
        weights: by version, relative to each other: calls that name no version are shared by them. Without any, such
            calls get the default version, as without an entry.
        aliases: versions by further names, which a call may use in place of them.
        sticky: the header whose value decides in place of chance, in lower case; "" for none.
        rollback: when a version loses its weight; None for never.
        shadow: which version gets copies of calls; None for none.
    """

    weights: dict[str, Weight] = {}
    aliases: dict[str, str] = {}
    sticky: str = ""
    rollback: RollbackEntry | None = None
    shadow: ShadowEntry | None = None

    def version(self, name: str) -> str:
        """The version that a name stands for: the one of an alias, else the name itself."""
        return self.aliases.get(name, name)

    @property
    def shares(self) -> dict[str, float]:
        """The weights, by versions."""
        return {self.version(name): weight for name, weight in self.weights.items()}

    @property
    def versions(self) -> set[str]:
        """All versions that the entry names."""
        return {*self.shares, *self.aliases.values()}


class Named(msgspec.Struct):
    """The parts of an entry whose names are the caller's own; each value as it stands there."""

    weights: dict[str, msgspec.Raw] = {}
    aliases: dict[str, msgspec.Raw] = {}


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; entries by the names of their models, each as it stands there."""

    models: dict[str, msgspec.Raw] = {}


# The objects of an entry with fields of their own, by where msgspec says that they stand.
OBJECTS: dict[str, type[msgspec.Struct]] = {
    "": ModelEntry,
    ".rollback": RollbackEntry,
    ".shadow": ShadowEntry,
}


def read_traffic(text: bytes) -> dict[str, ModelEntry]:
    """What a file says, by the names of models.

    Raises:
        ValueError: if it is no such file; the text says for which model, what was expected, and what came.
    """
    found = {}
    try:
        contents = msgspec.json.decode(text, type=Contents)
    except msgspec.DecodeError as error:
        raise ValueError(told(error, {"": Contents})) from None
    for model, raw in contents.models.items():
        try:
            check_values(raw)
            entry = found[model] = msgspec.json.decode(raw, type=ModelEntry)
            check(entry)
        except (msgspec.DecodeError, ValueError) as error:
            raise ValueError(f"model '{model}': {told(error, OBJECTS)}") from None
    return found


def told(error: Exception, objects: Mapping[str, type[msgspec.Struct]]) -> str:
    """What an error says, with the known fields if it is about an unknown one.

    Args:
        error: of this module, or of msgspec.
        objects: what may have fields, by where it stands, such as ".shadow".
    """
    text, _, where = str(error).partition(" - at `$")
    if "unknown field" not in text:
        return str(error)
    at = where.removesuffix("`")
    known = listed(field.name for field in msgspec.structs.fields(objects[at]))
    return f"{text}{f' in {at[1:]}' if at else ''}, expected some of: {known}"


def check_values(raw: msgspec.Raw) -> None:
    """Check each weight and each alias by itself: of a whole dict, msgspec does not say which value is wrong.

    Raises:
        ValueError: if one is wrong; the text says which.
        DecodeError: if the entry is no object, or these are none in it.
    """
    entry = msgspec.json.decode(raw, type=Named)
    for field, values, expected in (("weights", entry.weights, Weight), ("aliases", entry.aliases, str)):
        for name, value in values.items():
            try:
                msgspec.json.decode(value, type=expected)
            except msgspec.DecodeError as error:
                raise ValueError(f"{field} has a wrong value for '{name}': {error}") from None


def check(entry: ModelEntry) -> None:
    """Check that an entry makes sense.

    Raises:
        ValueError: if not.
    """
    for alias, version in entry.aliases.items():
        if not ALIAS.fullmatch(alias):
            raise ValueError(
                f"the alias '{alias}' must begin with a letter and have at most 63 letters, digits, '_', '.' or '-', so "
                "that it is never taken for a version"
            )
        if not VERSION.fullmatch(version):
            raise ValueError(
                f"the alias '{alias}' stands for '{version}', expected a version, which is a whole number"
            )
    for name in entry.weights:
        check_version(entry, "weights", name)
    named = [entry.version(name) for name in entry.weights]
    if twice := first_twice(named):
        raise ValueError(
            f"weights has version '{twice}' twice: by an alias, and by its own name or another one"
        )
    if entry.weights and not any(entry.weights.values()):
        raise ValueError(f"weights is {shown(entry.weights)}, expected one above 0 at least")
    if entry.sticky and not HEADER.fullmatch(entry.sticky):
        raise ValueError(f"sticky is '{entry.sticky}', expected the name of a header in lower case")
    if entry.sticky and not entry.weights:
        raise ValueError("sticky is there without weights, expected both or none")
    if entry.shadow is not None:
        check_version(entry, "shadow", entry.shadow.version)
    if entry.rollback is not None:
        check_version(entry, "rollback", entry.rollback.version)
        check_rollback(entry, entry.rollback)


def check_version(entry: ModelEntry, field: str, name: str) -> None:
    """Check that a name stands for a version: a misspelt alias would be a version that no pod ever serves.

    Raises:
        ValueError: if not.
    """
    if not VERSION.fullmatch(entry.version(name)):
        aliases = (
            f"one of the aliases {listed(entry.aliases)}" if entry.aliases else "an alias, but there are none"
        )
        raise ValueError(
            f"{field} has '{name[:80]}', expected a version, which is a whole number, or {aliases}"
        )


def check_rollback(entry: ModelEntry, rule: RollbackEntry) -> None:
    """Check that a rule can be kept.

    Raises:
        ValueError: if not.
    """
    if rule.error_share is None and rule.p99_ms is None:
        raise ValueError("rollback has no bound, expected error_share, p99_ms or both")
    watched = entry.version(rule.version)
    if watched not in entry.shares:
        raise ValueError(
            f"rollback watches version '{rule.version}', expected one of those in weights: {shown(entry.weights)}"
        )
    if not any(weight for version, weight in entry.shares.items() if version != watched):
        raise ValueError(
            f"rollback watches version '{rule.version}', but no other one has a weight above 0 and could get its calls"
        )


def first_twice(names: Iterable[str]) -> str:
    """The first name that comes a second time; "" if none does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def shown(weights: Mapping[str, float]) -> str:
    """Weights or shares in a sentence, by their versions."""
    return ", ".join(f"'{name}': {weight:g}" for name, weight in weights.items())
