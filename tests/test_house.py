"""Rules of this repository that a linter does not check."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.each import for_each

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("services", "tests", "bench", "conformance", "proto", "models", "scan", "dashboards")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith("_pb2.py")
)
# Names that say nothing about what is inside.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "shared", "base", "tools"}
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}
WIDE_S = 10.0
LONGEST_CLASS = 250


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def test_the_files_are_found() -> None:
    assert {"services/inferencehub/core/lane/lane.py", "tests/hub.py"} <= set(FILES)


@for_each(FILES)
def test_no_file_is_too_long_to_read_at_once(file: str) -> None:
    lines = len((ROOT / file).read_text().splitlines())
    most = 300 if file.startswith("services/") else 400
    assert lines <= most, f"{file} has {lines} lines"


@for_each([file for file in FILES if file.startswith("services/")])
def test_no_class_is_too_long_to_keep_in_mind(file: str) -> None:
    if (ROOT / file).read_text().count("\n") < LONGEST_CLASS:
        return  # nor is anything in it
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_CLASS, f"{file}: {node.name}"


@for_each(FILES)
def test_every_file_and_folder_says_what_it_is(file: str) -> None:
    assert not EMPTY_NAMES & set(Path(file).with_suffix("").parts)


@for_each(FILES)
def test_every_file_begins_with_its_purpose(file: str) -> None:
    text = (ROOT / file).read_text().removeprefix("#!/usr/bin/env python3\n")
    assert text.startswith('"""'), f"{file} has no docstring"


@for_each([file for file in FILES if Path(file).name.startswith("test_")])
def test_only_tests_marked_timing_have_tight_limits_of_time(file: str) -> None:
    if not any(clock in (ROOT / file).read_text() for clock in CLOCKS):
        return
    for test in tree_of(file).body:
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
            marked = any("timing" in ast.unparse(decorator) for decorator in test.decorator_list)
            assert marked or not has_tight_limit(test), f"{test.name} is not marked timing"


def has_tight_limit(test: ast.AST) -> bool:
    """Whether an assertion in it wants `clock() - something` to be less than WIDE_S.

    A machine that is slow for a while breaks no lower limit, and no upper one that tells only seconds from never.
    """
    for check in ast.walk(test):
        for compare in ast.walk(check.test) if isinstance(check, ast.Assert) else ():
            if isinstance(compare, ast.Compare):
                sides = [compare.left, *compare.comparators]
                for left, operator, right in zip(sides, compare.ops, sides[1:], strict=False):
                    less, more = (right, left) if isinstance(operator, ast.Gt | ast.GtE) else (left, right)
                    if is_time(less) and not isinstance(operator, ast.Eq) and largest(more) < WIDE_S:
                        return True
    return False


def is_time(expression: ast.expr) -> bool:
    """Whether a difference in it begins with what a clock shows."""
    return any(
        isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub) and bool(CLOCKS & called(part.left))
        for part in ast.walk(expression)
    )


def largest(expression: ast.expr) -> float:
    """The largest number that stands in it; 0.0 without any."""
    numbers = [part.value for part in ast.walk(expression) if isinstance(part, ast.Constant)]
    return max((float(number) for number in numbers if isinstance(number, int | float)), default=0.0)


def called(expression: ast.expr) -> set[str]:
    """The last names of what an expression calls."""
    functions = [part.func for part in ast.walk(expression) if isinstance(part, ast.Call)]
    names = [function for function in functions if isinstance(function, ast.Name)]
    return {name.id for name in names} | {at.attr for at in functions if isinstance(at, ast.Attribute)}
