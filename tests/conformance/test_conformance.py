"""The conformance run's own parts: its models, its judgement, its list and its table. `make conformance` runs it whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.paths import ROOT
from conformance import models, table
from conformance.clients import plan
from conformance.clients.plan import Plan, Tensor, difference
from conformance.judge import ABSENT, Difference, Verdict, judge, listed
from conformance.run import CLIENTS, Line
from tests.pages import page

CLIENT_FILES = sorted((ROOT / "conformance" / "clients").glob("*.py"))


def test_a_seed_gives_the_same_models_again_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (models.make(seed, tmp_path / str(n)) for n, seed in enumerate((7, 7, 8)))
    contents = [
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "0", tmp_path / "1", tmp_path / "2")
    ]
    assert contents[0] == contents[1]
    assert not contents[0].keys() & contents[2].keys()
    assert [case.about for case in first.cases] == [case.about for case in other.cases]
    assert not unlike(first, again)
    assert unlike(first, other)


def unlike(one: Plan, other: Plan) -> list[str]:
    """The tensors of two plans that differ."""
    found = []
    for left, right in zip(one.cases, other.cases, strict=True):
        tensors = zip([*left.inputs, *left.answers[0]], [*right.inputs, *right.answers[0]], strict=False)
        found += [a.name for a, b in tensors if a.name != b.name or difference(a, b.array)]
    return found


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = models.make(3, tmp_path / "models")
    plan.write(made, tmp_path / "plan.json")
    read = plan.read(tmp_path / "plan.json", ["python", "onnx"])
    assert not unlike(made, read)
    assert (read.spare, len(read.cases)) == (made.spare, len(made.cases))
    of_python = plan.read(tmp_path / "plan.json", ["python"])
    assert {case.runtime for case in of_python.cases} == {"python"}
    asked = {tensor.datatype for case in made.cases for tensor in case.inputs}
    assert asked == set(plan.NUMPY)


@pytest.mark.parametrize(
    ("expected", "found", "wrong"),
    [
        (np.array([1.5, 0.0]), np.array([1.5, 0.0]), False),
        (np.array([1.5, 0.0]), np.array([1.5, -0.0]), True),
        (np.array([1.5, np.nan]), np.array([1.5, -np.nan]), False),
        (np.array([1.5, np.nan]), np.array([np.nan, 1.5]), True),
        (np.array([1.5]), np.array([[1.5]]), True),
        (np.array([1.5]), np.array([np.nextafter(1.5, 2)]), True),
        (np.array([1.5]), None, True),
    ],
)
def test_values_are_compared_bit_by_bit_but_for_the_bits_of_nan(
    expected: Any, found: Any, wrong: bool
) -> None:
    assert bool(difference(Tensor("x", "FP64", expected), found)) == wrong


def test_texts_are_compared_as_bytes() -> None:
    texts = np.array([b"a\0", "ä".encode()], dtype=object)
    tensor = Tensor("x", "BYTES", texts)
    assert not difference(tensor, texts)
    assert not difference(tensor, np.array(["a\0", "ä"], dtype=object))
    assert difference(tensor, np.array([b"a", "ä".encode()], dtype=object))


def line(tier: str, result: str = "ok", answer: Any = None, case: str = "one") -> Line:
    return Line("some.client", "HTTP", tier, "call", case, result, "", answer)


ENTRY = Difference(["call"], ["name"], ["ours"], ["theirs"], "because")


@pytest.mark.parametrize(
    ("ours", "theirs", "unlisted", "gone"),
    [
        (line("gateway", answer={"name": "ours"}), line("triton", answer={"name": "theirs"}), 0, 0),
        (line("gateway", answer={"name": "theirs"}), line("triton", answer={"name": "theirs"}), 0, 1),
        (line("gateway", answer={"name": "other"}), line("triton", answer={"name": "theirs"}), 1, 1),
        (line("gateway", answer={"name": "ours"}), line("triton", answer={}), 1, 1),
        (line("gateway", answer={"x": [1, 2]}), line("triton", answer={"x": [1, 3]}), 1, 1),
        (line("gateway", "refused", "501"), line("triton", "ok", {}), 1, 1),
        (line("gateway", "refused", "400"), line("triton", "refused", "400"), 1, 1),
        (line("gateway", "ok"), line("triton", "wrong"), 1, 1),
        (line("gateway", "failed"), line("triton", "failed"), 1, 1),
        (line("gateway", "wrong"), line("triton", case="another"), 1, 1),
        (line("gateway", "cannot"), line("triton", "cannot"), 0, 1),
    ],
)
def test_what_differs_from_triton_has_to_be_listed_and_what_is_listed_has_to_differ(
    ours: Line, theirs: Line, unlisted: int, gone: int
) -> None:
    verdict = judge([ours, theirs], [ENTRY])
    assert (len(verdict.unlisted), len(verdict.gone)) == (unlisted, gone)


def test_without_triton_each_call_has_to_succeed_or_to_be_listed() -> None:
    refusal = Difference(["call"], ["result"], ["refused, 501"], ["ok"], "not there")
    assert not judge([line("gateway")], [refusal]).unlisted
    assert not judge([line("gateway", "refused", "501")], [refusal]).unlisted
    assert len(judge([line("gateway", "refused", "500")], [refusal]).unlisted) == 1
    assert not judge([line("gateway")], [refusal]).gone
    assert ABSENT not in str(judge([line("gateway", "failed")], [])), "what Triton says is not known"


def test_the_table_says_no_where_one_case_fails() -> None:
    refusal = Difference(["call"], ["result"], ["refused, 501"], ["ok"], "It is not there.")
    lines = [
        line("gateway"),
        line("gateway", "refused", "501", "two"),
        line("triton"),
        line("triton", case="two"),
    ]
    made = table.made(lines, judge(lines, [refusal]), {"some": "1.2"}).splitlines()
    assert made[2:] == ["| `some` 1.2 | call | no (1) |   |   | yes |   |", "", "1. It is not there."]
    assert table.cell([line("pod", "wrong")], Verdict([], []), {}) == "no"
    assert table.cell([line("pod", "cannot")], Verdict([], []), {}).strip() == ""


def test_each_entry_of_the_list_has_a_reason() -> None:
    for entry in listed():
        assert entry.reason.endswith("."), entry
        assert entry.calls, entry
        assert entry.at, entry


def test_the_table_in_the_docs_has_whole_rows_and_no_failure_without_a_reason() -> None:
    text = page("docs/clients.md")
    inside = text[text.index(table.BEGIN) : text.index(table.END)]
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\|.*$", inside, re.MULTILINE)
    ]
    assert rows[0] == ["client", "calls", *table.WAYS]
    assert {row[0].partition(" ")[0].strip("`") for row in rows[2:]} - {""} == {
        client.name for client in CLIENTS
    }
    notes = set(re.findall(r"^(\d+)\. ", inside, re.MULTILINE))
    for row in rows[2:]:
        assert len(row) == len(rows[0])
        assert all(re.fullmatch(r"yes|no|no \(\d+\)(, \(\d+\))*|", cell) for cell in row[2:]), row
        assert set(re.findall(r"\((\d+)\)", " ".join(row[2:]))) <= notes
        for ours, theirs in ((row[2], row[5]), (row[3], row[6]), (row[4], row[6])):
            assert not (ours == "no" and theirs == "yes"), f"{row} has no reason"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_has_its_program_and_a_lock_of_exact_versions(client: Any) -> None:
    assert (ROOT / "conformance" / "clients" / f"{client.module}.py").is_file()
    lines = client.requirements.read_text().splitlines()
    assert any(row.startswith(f"{client.package}==") for row in lines)
    assert all("==" in row for row in lines if not row.startswith("#"))


@pytest.mark.parametrize("file", CLIENT_FILES, ids=lambda file: file.stem)
def test_a_client_needs_nothing_of_this_tree_but_its_own_folder(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.partition(".")[0]
            assert top not in ("bench", "inferencehub", "tests"), name
            assert top != "conformance" or name.startswith("conformance.clients"), name
