"""Who makes a call, and what they may do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from inferencehub.core.auth.limits import Limits
from inferencehub.core.values.errors import HubError, Kind

MOST_KEPT = 100  # names that are kept with their answers; callers choose the names
MOST_PATTERNS = 1000  # lists of patterns whose names are kept
LONGEST = 512  # characters of a name; a longer one is no model's


class Action(StrEnum):
    """What a call does.

    infer: calls a model. describe: asks about models or the server. control: changes settings, loads and unloads models.
    """

    INFER = "infer"
    DESCRIBE = "describe"
    CONTROL = "control"


class Names:
    """The names that fit one of some patterns.

    Args:
        patterns: see `Caller`.
    """

    __slots__ = ("_known", "_pattern")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._pattern = re.compile("|".join(map(translate, patterns)) or r"(?!)")
        self._known: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Whether a name fits."""
        found = self._known.get(name)
        if found is None:
            found = len(name) <= LONGEST and self._pattern.match(name) is not None
            if len(self._known) < MOST_KEPT and len(name) <= LONGEST:
                self._known[name] = found
        return found


names_like = lru_cache(MOST_PATTERNS)(Names)  # many callers have the same patterns


class Flow(NamedTuple):
    """Whose calls share a queue with those of others: of a tenant, or of a caller without one.

    Args:
        name: of the tenant or the caller.
        weight: of the calls, relative to those of others.
    """

    name: str
    weight: float


class Caller:
    """Who makes a call.

    Args:
        id: of the caller, such as that of a key, for logs and sentences; "" if nobody is asked who they are.
        tenant: whom the caller belongs to; "" if that is not said.
        models: patterns of the models' names, as a shell has them: * for any text, ? for a character, [ab] for one of
            these.
        actions: what the caller may do.
        limits: what the caller may use; None for no limit.
        who: the caller in sentences; "" for the key with this id.
        listed: whether the id is one of a list that the operator has made.
        weight: of the caller's calls in a queue, relative to those of others.
    """

    __slots__ = (
        "_every",
        "_patterns",
        "actions",
        "flow",
        "id",
        "limits",
        "listed",
        "tenant",
        "who",
    )

    def __init__(
        self,
        id: str,
        tenant: str,
        models: Iterable[str],
        actions: Iterable[Action],
        limits: Limits | None = None,
        who: str = "",
        listed: bool = False,
        weight: float = 1.0,
    ) -> None:
        self.id = id
        self.who = who or f"key '{id}'"
        self.flow = Flow(f"tenant {tenant}" if tenant else self.who, weight) if id else None
        self.listed = listed
        self.tenant = tenant
        self.limits = limits
        self.actions = frozenset(actions)
        self._patterns = tuple(models)
        self._every = "*" in self._patterns

    def sees(self, model: str) -> bool:
        """Whether a model with this name is there for the caller."""
        return self._every or names_like(self._patterns).has(model)

    def require(self, action: Action) -> None:
        """Check that the caller may do this.

        Raises:
            HubError: FORBIDDEN if not.
        """
        if action not in self.actions:
            may = ", ".join(sorted(self.actions)) or "nothing"
            raise HubError(Kind.FORBIDDEN, f"{self.who} may not {action}, it may {may}")

    def require_model(self, model: str, named: bool = True) -> None:
        """Check that the caller may use a model. The sentence does not tell whether there is such a model.

        Args:
            model: its name.
            named: whether the caller has named it; if not, the sentence does not name it either.

        Raises:
            HubError: FORBIDDEN if not.
        """
        if not self.sees(model):
            which = f"model '{model[:80]}'" if named else "the model of requests that name none"
            raise HubError(Kind.FORBIDDEN, f"{self.who} may not use {which}")


ANYONE = Caller("", "", ["*"], Action)  # where nobody is asked who they are
