"""Scans code, chart, Dockerfiles and locks, and holds what is found against scan/listed.toml: `make scan`.

The exit code is 1 for a finding that is not listed, and for an entry of the list that covers no finding any more.
AUDIT=required makes it 1 as well where pip-audit could not answer for every package.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from scan.audit import Audit, audit, locked
from scan.findings import Finding, judge, listed
from scan.scanners import bandit, checkov, hadolint

SCANNERS = {"bandit": bandit, "hadolint": hadolint, "checkov": checkov}
WORDS = ("", "required")
SHOWN = 5  # findings of one rule


def main() -> None:
    """One scan."""
    required = os.environ.get("AUDIT", "")
    if required not in WORDS:
        raise SystemExit(f"AUDIT is {required!r}, expected 'required' or nothing")
    findings: list[Finding] = []
    for name, scanner in SCANNERS.items():
        began = monotonic()
        found = scanner()
        findings += found
        report(name, found, monotonic() - began)
    began, packages = monotonic(), locked()
    audited = audit(packages)
    findings += audited.findings
    report("pip-audit", audited.findings, monotonic() - began)
    complain(audited, len(packages))
    asked = {*SCANNERS, *(() if audited.unknown else ("pip-audit",))}
    verdict = judge(findings, listed(), asked)
    show(verdict.unlisted)
    for line in verdict.gone:
        print(f"GONE {line}: remove it from scan/listed.toml")
    good = not (verdict.unlisted or verdict.gone or (required and audited.unknown))
    print(
        f"{len(findings)} findings, {len(verdict.unlisted)} unlisted, {len(verdict.gone)} entries of the list gone, "
        f"{len(audited.unknown)} packages not audited: {'good' if good else 'NOT GOOD'}"
    )
    sys.exit(not good)


def report(name: str, found: list[Finding], seconds: float) -> None:
    """A line about a scanner: how often it found what."""
    counted = Counter(finding.rule for finding in found)
    rules = ", ".join(f"{rule} {times}" for rule, times in sorted(counted.items()))
    print(f"{name:10} {len(found):4} findings in {seconds:4.1f} s  {rules}".rstrip(), flush=True)


def show(unlisted: Sequence[Finding]) -> None:
    """Print findings; of a rule that found many, some."""
    counted: Counter[tuple[str, str]] = Counter()
    for finding in unlisted:
        counted[finding.scanner, finding.rule] += 1
        if counted[finding.scanner, finding.rule] <= SHOWN:
            print(f"UNLISTED {finding}")
    for (scanner, rule), times in counted.items():
        if times > SHOWN:
            print(f"UNLISTED {scanner} {rule}: {times - SHOWN} more")


def complain(audited: Audit, packages: int) -> None:
    """Say which packages nobody could tell about, and why; what was said of many is printed once."""
    if not audited.unknown:
        return
    print(
        f"NOT AUDITED: {len(audited.unknown)} of {packages} locked packages. The sources said, for example:"
    )
    for line in next(iter(audited.unknown.values())):
        print(f"  {line[:300]}")


if __name__ == "__main__":
    main()
