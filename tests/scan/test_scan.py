"""The scan's own parts: its judgement, its list, and who answers for a package. `make scan` runs it whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scan.audit import LOCKS, Package, Report, audit, locked, rounds
from scan.findings import Finding, Listed, judge, listed
from scan.scanners import failed, write_chart
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import read_yaml

ASSERTION = Finding("bandit", "B101", "services/a.py", "line 3: assert")
KNOWN = Listed("bandit", "B101", ["services/*"], "types")


def test_a_finding_that_is_listed_is_good() -> None:
    verdict = judge([ASSERTION], [KNOWN], ["bandit"])
    assert (verdict.unlisted, verdict.gone) == ([], [])


@pytest.mark.parametrize(
    "other",
    [
        Finding("bandit", "B101", "models/a.py", ""),
        Finding("bandit", "B102", "services/a.py", ""),
        Finding("checkov", "B101", "services/a.py", ""),
    ],
)
def test_a_finding_of_another_place_rule_or_scanner_is_not_listed(other: Finding) -> None:
    assert judge([ASSERTION, other], [KNOWN], ["bandit"]).unlisted == [other]


def test_a_pattern_that_covers_nothing_is_gone_if_its_scanner_has_seen_everything() -> None:
    known = [Listed("bandit", "B101", ["services/*", "models/*"], "types")]
    assert judge([ASSERTION], known, ["bandit"]).gone == ["bandit B101 models/*"]
    assert judge([ASSERTION], known, []).gone == []


def test_each_entry_of_the_list_has_a_reason_and_places_and_stands_once() -> None:
    entries = listed()
    assert all(entry.reason.endswith(".") and entry.where for entry in entries)
    assert {entry.scanner for entry in entries} <= {"bandit", "hadolint", "checkov", "pip-audit"}
    places = [(entry.scanner, entry.rule, where) for entry in entries for where in entry.where]
    assert len(places) == len(set(places))


@pytest.mark.long
def test_each_release_of_the_scanned_chart_is_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    write_chart(tmp_path)
    assert {folder.name for folder in tmp_path.iterdir()} == set(COMBINATIONS)
    for file in tmp_path.rglob("deployment.yaml"):
        release = file.relative_to(tmp_path).parts[0]
        for thing in read_yaml(file.read_text()):
            assert thing["metadata"]["namespace"] == release
            assert thing["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == release


def test_a_scanner_that_has_read_nothing_is_no_good_scan() -> None:
    read = {"check_type": "kubernetes", "summary": {"resource_count": 1, "parsing_errors": 0}, "results": {}}
    read["results"] = {"failed_checks": []}
    assert failed([read], "kubernetes") == []
    for summary in ({"resource_count": 0, "parsing_errors": 0}, {"resource_count": 1, "parsing_errors": 1}):
        with pytest.raises(SystemExit):
            failed([{**read, "summary": summary}], "kubernetes")
    with pytest.raises(SystemExit):
        failed([read], "dockerfile")


def test_a_package_that_one_source_does_not_know_is_asked_of_the_next() -> None:
    hole = {"id": "PYSEC-1", "fix_versions": ["2"], "aliases": ["CVE-1"]}

    def answers(source: str, packages: Sequence[Package]) -> tuple[Report, str]:
        if source == "pypi":
            assert {name for name, _ in packages} == {"good", "bad", "strange"}
            good = {"name": "good", "version": "1", "vulns": []}
            return [good, *({"name": name, "skip_reason": "not found"} for name in ("bad", "strange"))], ""
        assert {name for name, _ in packages} == {"bad", "strange"}
        return [{"name": "bad", "version": "1", "vulns": [hole]}], "no answer"

    found = audit(
        {("good", "1"): ["dev"], ("bad", "1"): ["gateway", "dev"], ("strange", "1"): ["dev"]}, answers
    )
    assert found.findings == [
        Finding("pip-audit", "PYSEC-1", "bad==1", "CVE-1 in gateway, dev; fixed in 2"),
    ]
    assert found.unknown == {("strange", "1"): ["pypi: not found", "osv: no answer"]}


def test_a_source_that_answers_nothing_leaves_all_packages_unknown() -> None:
    found = audit({("a", "1"): ["dev"]}, lambda source, packages: ([], "no network"))
    assert found.unknown == {("a", "1"): ["pypi: no network", "osv: no network"]}


def test_both_versions_of_a_package_are_asked_for() -> None:
    packages = locked()
    assert {lock for locks in packages.values() for lock in locks} == set(LOCKS)
    parts = rounds(packages)
    assert sorted(package for part in parts for package in part) == sorted(packages)
    for part in parts:
        assert len({name for name, _ in part}) == len(part)
