"""What scanners find, and the checked-in list of findings that stay, each with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

LISTED = Path(__file__).with_name("listed.toml")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Args:
        scanner: whose it is.
        rule: the scanner's name for what it found, such as B101 or CKV_K8S_11.
        where: a file of this repository, a template of the chart under a set of values, or a package and its version.
        text: what the scanner says about it.
    """

    scanner: str
    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.scanner} {self.rule} {self.where}: {self.text}"


@dataclass(frozen=True)
class Listed:
    """A rule whose findings stay in some places.

    Args:
        where: patterns of places, in which `*` stands for any text. Each of them has to cover a finding.
        reason: why nothing is changed there.
    """

    scanner: str
    rule: str
    where: Sequence[str]
    reason: str

    def covering(self, finding: Finding) -> list[str]:
        """Its patterns that cover a finding."""
        if (finding.scanner, finding.rule) != (self.scanner, self.rule):
            return []
        return [pattern for pattern in self.where if fnmatchcase(finding.where, pattern)]


@dataclass(frozen=True)
class Verdict:
    """Findings against the list.

    Args:
        unlisted: findings that no entry covers.
        gone: a line for each pattern of the list that covers no finding.
    """

    unlisted: Sequence[Finding]
    gone: Sequence[str]


def listed() -> list[Listed]:
    """The checked-in list."""
    return [Listed(**entry) for entry in tomllib.loads(LISTED.read_text())["listed"]]


def judge(findings: Sequence[Finding], known: Sequence[Listed], asked: Collection[str]) -> Verdict:
    """Hold findings against a list.

    Args:
        asked: the scanners that have seen everything. What the list says about others can't be called gone.
    """
    used: set[tuple[str, str, str]] = set()
    unlisted = []
    for finding in findings:
        covering = [pattern for entry in known for pattern in entry.covering(finding)]
        used |= {(finding.scanner, finding.rule, pattern) for pattern in covering}
        if not covering:
            unlisted.append(finding)
    gone = [
        f"{entry.scanner} {entry.rule} {pattern}"
        for entry in known
        if entry.scanner in asked
        for pattern in entry.where
        if (entry.scanner, entry.rule, pattern) not in used
    ]
    return Verdict(unlisted, gone)
