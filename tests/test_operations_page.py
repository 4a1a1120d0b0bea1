"""The table of failures has every alert, and names only metrics, errors, runbooks and tests that exist."""

from __future__ import annotations

import re

import yaml

from inferencehub.core.values.errors import Kind
from tests.each import for_each
from tests.hub import ROOT
from tests.pages import CODE, page, table_names

NAME = "docs/operations.md"
FAILURES = page(NAME)[page(NAME).index("## What breaks") :]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in FAILURES.splitlines()
    if line.startswith("| ") and not line.startswith("| what happens")
]
ALERTS = [
    rule["alert"]
    for rule in yaml.safe_load((ROOT / "charts/inferencehub/files/rules/alerts.yaml").read_text())
]
KINDS = {(str(kind.http), kind.label) for kind in Kind}


def test_every_alert_is_in_the_table_and_leads_to_its_runbook() -> None:
    links = re.findall(r"\[(\w+)\]\(runbooks\.md#(\w+)\)", FAILURES)
    assert {f"InferenceHub{name}" for name, _ in links} == set(ALERTS)
    assert all(anchor == f"inferencehub{name.lower()}" for name, anchor in links)


def test_every_metric_that_the_page_names_exists() -> None:
    known = {re.split(r"[{ ]", name)[0] for name in table_names("docs/metrics.md")}
    named = set(re.findall(r"\binferencehub_\w+", page(NAME)))
    assert len(named) > 20
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in named} <= known


@for_each([row[0] for row in ROWS])
def test_each_row_has_all_cells_and_a_test_that_exists(what: str) -> None:
    (cells,) = [row for row in ROWS if row[0] == what]
    assert len(cells) == 5
    (code,) = CODE.findall(cells[4])
    file, _, name = code.partition("::")
    assert (ROOT / file).exists(), file
    assert not name or f"def {name}(" in (ROOT / file).read_text(), name


def test_statuses_are_those_of_their_errors() -> None:
    named = set(re.findall(r"(\d{3}) `(\w+)`", page(NAME)))
    assert len(named) > 5
    assert named <= KINDS
