"""How the calls of one model are split among its versions.

Only versions that a pod serves get calls. While none of those with a weight is served:

- a version that the entry does not name gets the calls, if pods serve one: the file is older than what is deployed;
- else they wait for the version with the largest weight that pods have served, as calls wait for any model; where no
  pod has it any more, or yet, they are refused.

A version that the entry gives the weight 0 gets no call that does not name it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from inferencehub.core.lane.job import Job
from inferencehub.core.process.histogram import Histogram
from inferencehub.gateway.routing.traffic.choice import by_chance, by_value, short
from inferencehub.gateway.routing.traffic.contents import ModelEntry
from inferencehub.gateway.routing.traffic.rollback import Watch

logger = logging.getLogger(__name__)


class Versions(Protocol):
    """What is needed of the routing table."""

    changed: asyncio.Event  # another one after each change

    def is_open(self, name: str, version: str) -> bool:
        """Whether a version can be called now."""

    def versions(self, name: str) -> list[str]:
        """The versions of a model that can be called."""

    def known(self, name: str, version: str = "") -> Sequence[object]:
        """The lanes of a version; none if no pod has reported it."""

    def all_listed(self) -> Mapping[str, str] | None:
        """All models, with the reasons why they can't be called; None while a pod has not listed its own."""


class Ended(Protocol):
    """What is looked at of a call that has ended.

    `losses` is None if it is no attempt of a job, which may wait for long; `moved` is whether it waited for another version first.
    """

    job: Job | None
    moved: bool
    losses: int | None


class Version:
    """A version of a model that the file of traffic names; counts the calls that it got.

    Args:
        model, name: the model, and its version.
        seconds: the histogram of all versions, by model, version and outcome.

    `watch` decides whether it may go on getting calls, None if nothing does, and `roll_back` is called with the reason if it
    may not.
    """

    def __init__(self, model: str, name: str, seconds: Histogram) -> None:
        self.name = name
        self.watch: Watch | None = None
        self.roll_back: Callable[[str], None] = lambda why: None
        self._by_outcome = {outcome: seconds.labels(model, name, outcome) for outcome in OUTCOMES}

    @property
    def calls(self) -> dict[str, int]:
        """How many calls it got, by their outcomes."""
        return {outcome: sum(one.counts) for outcome, one in self._by_outcome.items()}

    def ended(self, call: Ended, status: int, seconds: float) -> None:
        """Count a call that was for this version.

        Args:
            call: the call.
            status: the HTTP status of its end, over gRPC too.
            seconds: since it came.
        """
        if call.job is not None:
            call.job.move = None  # it refers back to the call: a cycle that would keep the request
        outcome = outcome_of(status)
        self._by_outcome[outcome].observe(seconds)
        if self.watch is not None and outcome is not REFUSED and call.losses is None:
            now = monotonic()
            took = 0.0 if call.job is None or call.moved else now - call.job.received
            if why := self.watch.ended(now, outcome is FAILED, took):
                self.roll_back(why)


OK, FAILED, REFUSED = OUTCOMES = ("ok", "failed", "refused")


def outcome_of(status: int) -> str:
    """How a call ended: "failed" is the version's fault, "refused" is not."""
    if status < 400:
        return OK
    return FAILED if status >= 500 and status != 501 else REFUSED


class Split:
    """See the module's text.

    Args:
        model: its name.
        entry: what the file says of it.
        lanes: the routing table.
        seconds: see `Version`.
    """

    def __init__(self, model: str, entry: ModelEntry, lanes: Versions, seconds: Histogram) -> None:
        self.model = model
        self.entry = entry
        self._lanes = lanes
        self._seconds = seconds
        self._sticky = entry.sticky.encode()
        self.weights = entry.shares
        self.versions = {name: Version(model, name, seconds) for name in sorted(entry.versions)}
        self.rolled_back = ""  # why the version that is watched has lost its weight
        rule = entry.rollback
        self.watched = "" if rule is None else entry.version(rule.version)
        if rule is not None and self.weights[self.watched]:
            watched = self.versions[self.watched]
            watched.watch, watched.roll_back = Watch(rule), self._roll_back
        self._used: Mapping[str, float] = {}
        self._used_at: asyncio.Event | None = None  # the change of the table that they come from
        self._missing: set[str] = set()

    def sticky(self, fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The header of a call on which its version depends; empty if there is none."""
        value = fields.get(self._sticky)
        return {self._sticky: short(value)} if value else {}

    def choose(self, fields: Mapping[bytes, bytes]) -> Version | None:
        """The version for a call that names none, from its headers; None for the default version."""
        weights = self.used
        if not weights:
            return None
        if len(weights) == 1:
            (name,) = weights
        elif self._sticky and (value := fields.get(self._sticky)):
            name = by_value(weights, self.model, short(value))
        else:
            name = by_chance(weights)
        version = self.versions.get(name)
        if version is None:  # one that the entry does not name
            version = self.versions[name] = Version(self.model, name, self._seconds)
        return version

    @property
    def used(self) -> Mapping[str, float]:
        """The weights, above 0, of the versions that get calls now; none if the default version gets them."""
        if self._used_at is not self._lanes.changed:
            self._used_at = self._lanes.changed
            self._used = self._served()
            self._note_missing()
        return self._used

    def page(self) -> dict[str, object]:
        """How the calls are split now: each version with its aliases, weight, share, and calls up to now."""
        used = self.used
        whole = sum(used.values()) or 1.0
        return {
            "model": self.model,
            "sticky": self.entry.sticky,
            "versions": [
                {
                    "version": name,
                    "aliases": [alias for alias, of in self.entry.aliases.items() if of == name],
                    "weight": self.weights.get(name, 0.0),
                    "share": used.get(name, 0.0) / whole,
                    "calls": self.versions[name].calls,
                    "rolled_back": self.rolled_back if name == self.watched else "",
                }
                for name in sorted(self.versions, key=in_order)
            ],
        }

    def _roll_back(self, why: str) -> None:
        """Give the version that is watched no more calls, if another one can take them."""
        others = [name for name, weight in self.weights.items() if weight and name != self.watched]
        if not any(self._lanes.is_open(self.model, name) for name in others):
            return
        self.rolled_back = why
        self.weights[self.watched] = 0.0
        self.versions[self.watched].watch = None
        self._used_at = None
        about = {"model": self.model, "version": self.watched, "why": why, "calls_go_to": others}
        logger.error("a version is rolled back and gets no more calls", extra=about)

    def _served(self) -> Mapping[str, float]:
        wanted = {name: weight for name, weight in self.weights.items() if weight}
        served = {name: weight for name, weight in wanted.items() if self._lanes.is_open(self.model, name)}
        if served or not wanted:
            return served
        others = [name for name in self._lanes.versions(self.model) if name not in self.entry.versions]
        if others:
            return {max(others, key=in_order): 1.0}
        known = {name: weight for name, weight in wanted.items() if self._lanes.known(self.model, name)}
        if not known and self._lanes.versions(self.model):
            known = wanted  # those that are served have the weight 0
        return {max(known, key=known.__getitem__): 1.0} if known else {}

    def _note_missing(self) -> None:
        """Log which versions have a weight and are not served, once for each change; not while nothing of the model is."""
        wanted = {name for name, weight in self.weights.items() if weight}
        missing = {name for name in wanted if not self._lanes.is_open(self.model, name)}
        if missing == self._missing or not self._lanes.versions(self.model):
            return
        self._missing = missing
        others = [name for name in self._used if name not in missing]
        about = {"model": self.model, "missing": sorted(missing), "calls_go_to": sorted(others)}
        if not missing:
            logger.info("pods serve all versions that have a weight", extra=about)
        elif others:
            logger.warning("no pod serves a version that has a weight, others get its calls", extra=about)
        else:
            logger.error("no pod serves a version that has a weight, nothing gets its calls", extra=about)


def in_order(version: str) -> tuple[int, str]:
    """The order of versions: numbers as numbers."""
    return int(version) if version.isdecimal() else -1, version
