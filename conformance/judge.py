"""Which answers are right: those that numpy and Triton give too, and those that differ for a reason that is listed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conformance.run import Line

LISTED = Path(__file__).with_name("differences.toml")
ABSENT = "(nothing)"
TRITON = "triton"
OURS_ALONE = "onnx "  # cases of which Triton's build has no model, in an answer about several


@dataclass(frozen=True)
class Difference:
    """Where answers may differ from Triton's.

    Args:
        calls: of which calls, as in the table; `*` stands for any text in these three lists.
        cases: of which cases.
        clients: of which clients.
        at: where in the answers; "result" is whether the call succeeded. A number of a list is written as 0.
        ours, triton: what each may say; `*` stands for anything.
        reason: why it is so.
    """

    calls: Sequence[str]
    at: Sequence[str]
    ours: Sequence[Any]
    triton: Sequence[Any]
    reason: str
    cases: Sequence[str] = ("*",)
    clients: Sequence[str] = ("*",)

    def covers(self, found: Found) -> bool:
        """Whether it is about this difference."""
        line = found.line
        names = (
            (line.call, self.calls),
            (line.case, self.cases),
            (line.client, self.clients),
            (found.at, self.at),
        )
        said = ((found.ours, self.ours), (found.triton, self.triton))
        return all(any(fnmatchcase(name, one) for one in allowed) for name, allowed in names) and all(
            what == "*" or "*" in allowed or what in allowed for what, allowed in said
        )


@dataclass(frozen=True)
class Found:
    """One difference between an answer of ours and Triton's."""

    line: Line
    at: str
    ours: Any
    triton: Any

    def __str__(self) -> str:
        line = self.line
        where = f"{line.client}, {line.tier}: {line.call}, {line.case}, at {self.at}"
        return f"{where}: ours {self.ours!r}, Triton {self.triton!r} {line.detail}"


@dataclass
class Verdict:
    """What a run has shown.

    Args:
        differences: all from Triton, and each call of ours that did not succeed, with the entry that lists it.
        gone: entries of the list that nothing needed.
    """

    differences: Sequence[tuple[Found, Difference | None]]
    gone: Sequence[Difference]

    @property
    def unlisted(self) -> list[Found]:
        """Those that nobody explains."""
        return [found for found, listed in self.differences if listed is None]


def listed() -> list[Difference]:
    """The checked-in list."""
    return [Difference(**entry) for entry in tomllib.loads(LISTED.read_text())["difference"]]


def judge(lines: Sequence[Line], known: Sequence[Difference]) -> Verdict:
    """Compare our answers with Triton's, where there is one, and with the list."""
    theirs = {key(line): line for line in lines if line.tier == TRITON}
    found: list[tuple[Found, Difference | None]] = []
    for line in lines:
        if line.tier != TRITON:
            for one in differing(line, theirs.get(key(line)), bool(theirs)):
                found.append((one, next((entry for entry in known if entry.covers(one)), None)))
    used = [entry for _, entry in found]
    # Without a Triton nobody can say what is gone.
    return Verdict(found, [entry for entry in known if theirs and entry not in used])


def key(line: Line) -> tuple[str, str, str, str]:
    """What two lines about the same call have in common."""
    return line.client, line.transport, line.call, line.case


def differing(line: Line, theirs: Line | None, compared: bool) -> Iterator[Found]:
    """The differences of one call. It has to succeed, whatever Triton does, unless the client can't make it."""
    missing = ABSENT if compared else "*"
    ours, other = outcome(line), missing if theirs is None else outcome(theirs)
    if ours == "cannot" and other in ("cannot", missing):
        return
    if ours != "ok" or (theirs is not None and other != "ok"):
        yield Found(line, "result", ours, other)
    elif theirs is not None:
        for at, one, another in unequal(line.answer, theirs.answer, ""):
            yield Found(line, at, one, another)


def outcome(line: Line) -> str:
    """Whether a call succeeded; the status of one that was refused."""
    return f"refused, {line.answer}" if line.result == "refused" else line.result


def unequal(ours: Any, theirs: Any, at: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two answers differ: the path, what we say and what Triton says."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in sorted({*ours, *theirs}):
            if name.startswith(OURS_ALONE):
                continue
            yield from unequal(ours.get(name, ABSENT), theirs.get(name, ABSENT), f"{at}.{name}".strip("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from unequal(one, other, f"{at}.0".strip("."))
    elif ours != theirs:
        yield at or "answer", ours, theirs
