"""Known vulnerabilities in locked packages, as pip-audit tells them; and which packages nobody could tell about.

pip-audit passes over a package that its source does not know, and ends as if all were well. So each package has to be
answered for by name, and another source is asked for those that are left.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scan.findings import Finding
from scan.scanners import PROGRAMS, SCAN_S
from tests.hub import ROOT

# Not those of the lowest versions, which only tests use, nor those of scanners, which read nothing but this repository.
LOCKS = ("gateway", "inference", "run", "proto", "dev")
SOURCES = ("pypi", "osv")
PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)

Package = tuple[str, str]  # name and version
Report = list[dict[str, Any]]  # pip-audit's "dependencies"
Ask = Callable[[str, Sequence[Package]], tuple[Report, str]]


@dataclass
class Audit:
    """What is known about packages.

    Args:
        unknown: the packages without an answer, and what each source said instead.
    """

    findings: list[Finding] = field(default_factory=list)
    unknown: Mapping[Package, Sequence[str]] = field(default_factory=dict)


def locked(names: Iterable[str] = LOCKS) -> dict[Package, list[str]]:
    """All packages of some locks, for any platform and Python, with the locks that have them."""
    found: dict[Package, list[str]] = {}
    for lock in names:
        for name, version in PINNED.findall((ROOT / "requirements" / f"{lock}.txt").read_text()):
            found.setdefault((name, version), []).append(lock)
    return found


def rounds(packages: Iterable[Package]) -> list[list[Package]]:
    """Packages in lists of which none has a name twice: a lock may have a version for each Python."""
    lists: list[list[Package]] = []
    for package in sorted(packages):
        for some in lists:
            if package[0] not in {name for name, _ in some}:
                some.append(package)
                break
        else:
            lists.append([package])
    return lists


def ask(source: str, packages: Sequence[Package]) -> tuple[Report, str]:
    """What pip-audit says about packages, and its last message where it can't say anything."""
    with tempfile.TemporaryDirectory(prefix="hub-audit-") as folder:
        lock = Path(folder, "packages.txt")
        lock.write_text("".join(f"{name}=={version}\n" for name, version in packages))
        done = subprocess.run(
            [
                *(str(PROGRAMS / "pip-audit"), "--requirement", str(lock), "--disable-pip", "--no-deps"),
                *("--vulnerability-service", source, "--progress-spinner", "off"),
                *("--format", "json", "--desc", "off", "--aliases", "on"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SCAN_S,
            check=False,
        )
    try:
        report: Report = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return [], (done.stderr.strip().splitlines() or ["no message"])[-1]
    return report, "no answer about it"


def audit(packages: Mapping[Package, Sequence[str]], ask: Ask = ask) -> Audit:
    """Ask the sources one after the other, each for the packages that are still unknown.

    Args:
        packages: each with the locks that have it.
    """
    findings: list[Finding] = []
    said: dict[Package, list[str]] = {package: [] for package in packages}
    for source in SOURCES:
        for some in rounds(said):
            report, error = ask(source, some)
            answers = {(one["name"], one.get("version")): one for one in report}
            skipped = {one["name"]: one["skip_reason"] for one in report if "skip_reason" in one}
            for package in some:
                if answer := answers.get(package):
                    findings += vulnerabilities(answer, packages[package])
                    del said[package]
                else:
                    said[package].append(f"{source}: {skipped.get(package[0], error)}")
    return Audit(findings, said)


def vulnerabilities(answer: Mapping[str, Any], locks: Sequence[str]) -> list[Finding]:
    """The vulnerabilities of one package."""
    return [
        Finding(
            "pip-audit",
            one["id"],
            f"{answer['name']}=={answer['version']}",
            f"{', '.join(one.get('aliases', ()))} in {', '.join(locks)}; fixed in {', '.join(one['fix_versions']) or 'no version'}",
        )
        for one in answer["vulns"]
    ]
