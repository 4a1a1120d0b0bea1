"""The folders of bench/: allowed imports, no import cycles, few files each, and every command in a text exists."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.paths import ROOT

BENCH = ROOT / "bench"
# Who may import from which folders; each may import from itself and paths.py.
ARROWS: dict[str, set[str]] = {
    "peers": set(),
    "load": set(),
    "servers": {"load"},
    "report": {"load"},
    "parts": {"load", "servers", "report"},
    "guard": {"load", "servers", "report", "parts"},
    "versus": {"load", "servers", "report"},
    "studies": {"load", "servers", "parts"},
    "chaos": {"load", "servers"},
}
FILES_AT_MOST = 10
TEXTS = [
    *(path for folder in ("docs", "bench", "services", "k8s-tests") for path in (ROOT / folder).rglob("*")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")),
]


def modules() -> dict[str, Path]:
    """Every module of bench/ by its name, without the models that servers load by path."""
    found = {}
    for path in BENCH.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] not in ("models", "computing_models"):
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """The modules of bench/ that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if name in MODULES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name in MODULES and name != "bench"}


def folder_of(module: str) -> str:
    """The folder of a module; "" for one that lies in bench/ itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (BENCH / parts[1]).is_dir() else ""


def test_every_folder_has_its_arrows() -> None:
    assert {folder_of(module) for module in MODULES} - {""} == set(ARROWS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_follow_the_arrows(module: str) -> None:
    folder = folder_of(module)
    if module == "bench.__main__":
        return
    allowed = {folder, *ARROWS.get(folder, set())}
    wrong = {name for name in imports(MODULES[module]) if folder_of(name) not in allowed}
    assert wrong <= {"bench.paths"}, (
        f"{module} may import from {sorted(allowed)}, and imports {sorted(wrong)}"
    )


def test_no_file_imports_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imports(path) for module, path in MODULES.items()}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("folder", sorted(ARROWS))
def test_a_folder_is_small_and_says_what_is_inside(folder: str) -> None:
    files = [path for path in (BENCH / folder).glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= FILES_AT_MOST, f"bench/{folder} has {len(files)} files, {FILES_AT_MOST} are the most"
    assert (ast.get_docstring(ast.parse((BENCH / folder / "__init__.py").read_text())) or "").strip()


def commands() -> set[tuple[str, str]]:
    """Each `python -m bench…` in a text, with the text's name."""
    found = set()
    for path in TEXTS:
        if path.suffix in (".md", ".py") or path.name == "Makefile":
            text = path.read_text() if path.is_file() else ""
            found |= {
                (path.relative_to(ROOT).as_posix(), name) for name in re.findall(r"-m (bench[\w.]*\w)", text)
            }
    return found


def test_commands_that_texts_name_exist() -> None:
    assert ("Makefile", "bench.guard") in commands()
    missing = sorted((text, name) for text, name in commands() if not is_command(name))
    assert not missing, f"no such command: {missing}"


def is_command(module: str) -> bool:
    """Whether `python -m` runs it."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        return False
    if found is not None and found.submodule_search_locations:
        found = find_spec(f"{module}.__main__")
    return (
        found is not None
        and found.origin is not None
        and "__main__" in Path(found.origin).read_text() + found.name
    )
