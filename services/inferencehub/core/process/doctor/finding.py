"""What a doctor has found, and how people read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum

import msgspec

LONGEST = 600  # characters of a sentence: reasons come from models, servers and files


class Level(Enum):
    """How bad it is, from the best to the worst. A warning is no reason to act at once."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


WORST = list(Level)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        level: how bad it is.
        what: what was looked at, in a few words.
        seen: what was seen, as a sentence. It has no password and no key.
        fix: what to do, as sentences; "" if there is nothing to do.
    """

    level: Level
    what: str
    seen: str
    fix: str = ""


class Report(msgspec.Struct, frozen=True):
    """All that one process has found.

    Args:
        tier: which process it is.
        version: of InferenceHub.
        at: when it looked, in Unix time.
        verdict: the worst level of the findings.
        findings: the worst first.
    """

    tier: str
    version: str
    at: float
    verdict: Level
    findings: list[Finding]


def ok(what: str, seen: str) -> Finding:
    """Something that is as it should be."""
    return Finding(Level.OK, what, cut(seen))


def warning(what: str, seen: str, fix: str) -> Finding:
    """Something that works, and that somebody should look at."""
    return Finding(Level.WARNING, what, cut(seen), fix)


def fault(what: str, seen: str, fix: str) -> Finding:
    """Something that does not work."""
    return Finding(Level.FAULT, what, cut(seen), fix)


def cut(text: str) -> str:
    """A text on one line, and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def report_of(tier: str, version: str, at: float, findings: Iterable[Finding]) -> Report:
    """The report with these findings; those of a level stay in their order."""
    found = sorted(findings, key=lambda one: -WORST.index(one.level))
    return Report(tier, version, at, found[0].level if found else Level.OK, found)


def as_text(report: Report) -> str:
    """A report as a terminal shows it."""
    when = datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [f"{report.tier} {report.version} at {when}: {counted(report.findings)}"]
    for one in report.findings:
        lines.append(f"{one.level.value.upper():<8} {one.what}: {one.seen}")
        if one.fix:
            lines.append(f"{'':8} Fix: {one.fix}")
    return "\n".join(lines) + "\n"


def counted(findings: Sequence[Finding]) -> str:
    """How many findings there are of each level, the worst first, in words."""
    parts = []
    for level, word in ((Level.FAULT, "fault"), (Level.WARNING, "warning")):
        count = sum(one.level is level for one in findings)
        if count:
            parts.append(f"{count} {word}{'s' if count > 1 else ''}")
    fine = sum(one.level is Level.OK for one in findings)
    return ", ".join([*parts, f"{fine} fine"])
