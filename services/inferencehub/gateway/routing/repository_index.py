"""The repository index of all pods: each model version once, with the state that callers find.

A version is READY if any pod serves it, and LOADING if none does and one loads it. If several pods list it, the reason
of a version that is READY says how many of them serve it. A pod that is not reached any more, but still has an address,
counts as one that does not serve. If pods do not have a model as loads and unloads through the gateway have left it, the
reason says so too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import Sees, everything
from inferencehub.pb import open_inference_pb2 as pb

READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"
Index = pb.RepositoryIndexResponse.ModelIndex


@dataclass
class Entry:
    """What the pods say of one model version: the state at each of them, and the reasons of those that do not serve."""

    states: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of those that serve

    def add(self, state: str, reason: str) -> None:
        """Count one pod."""
        self.states.append(state)
        if reason:
            (self.notes if state == READY else self.reasons).append(reason)

    def shown(self, name: str, version: str, note: str) -> Index:
        """The entry of the index; the note, if there is one, stands behind the reason."""
        state = next((each for each in (READY, LOADING) if each in self.states), UNAVAILABLE)
        reason = self.reasons[-1] if self.reasons else ""
        if state == READY:
            pods = len(self.states)
            counted = [f"{self.states.count(READY)} of {pods} pods"] if pods > 1 else []
            reason = "; ".join([*counted, *self.notes[-1:]])
        reason = "; ".join(filter(None, (reason, note)))
        return Index(name=name, version=version, state=state, reason=reason)


def repository_index(
    fleet: Fleet, table: RoutingTable, ready: bool, sees: Sees = everything
) -> pb.RepositoryIndexResponse:
    """RepositoryIndex over all pods, in the order of names and versions.

    Args:
        fleet, table: the pods and the lanes of known models.
        ready: whether only versions that are READY are listed.
        sees: returns whether a model is there for the caller.
    """
    found: dict[tuple[str, str], Entry] = {}
    for pod in fleet.pods.values():
        if pod.wanted:
            for name, version, state, reason in listed_by(pod):
                found.setdefault((name, version), Entry()).add(state, reason)
    listed = {name for name, _ in found}
    for name, why in table.models().items():  # those that no pod lists now
        if name not in listed:
            found[name, ""] = Entry([UNAVAILABLE], [why])
    notes = table.not_as_wished
    keys = [key for key in sorted(found, key=in_order) if sees(key[0])]
    entries = [found[key].shown(*key, notes.get(key[0], "")) for key in keys]
    return pb.RepositoryIndexResponse(
        models=[entry for entry in entries if entry.state == READY or not ready]
    )


def listed_by(pod: Pod) -> Iterator[tuple[str, str, str, str]]:
    """Name, version, state and reason of each model version at a pod; a pod that cannot list them has what was asked."""
    listing = pod.catalog.listing if pod.catalog.listed else ()
    entries = [(entry.name, entry.version, entry.state, entry.reason) for entry in listing]
    if not pod.catalog.listed:
        entries = [(name, version, READY, "") for name, version in pod.catalog.models]
    for name, version, state, reason in entries:
        if state == READY and not pod.serves(name):
            yield name, version, UNAVAILABLE, "its pods accept no work"
        else:
            yield name, version, state, reason


def in_order(key: tuple[str, str]) -> tuple[str, int, str]:
    """The order of model versions: numbers as numbers."""
    name, version = key
    return name, int(version) if version.isdecimal() else -1, version
