"""The links, commands and paths of the documentation exist, and the README stays short."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.hub import ROOT
from tests.pages import CODE, PAGES, anchors, commands, links, page, prose, table_names

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
DOCUMENTED = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAMS = {"make", "curl", "docker", "helm", "kind", "kubectl", "minikube", *PROJECT.get("scripts", ())}
FOLDERS = r"(?:bench|charts|docs|k8s-tests|models|proto|requirements|scan|services|tests)"
READ = [*PAGES, "bench/README.md"]
# Words that only this project used in their sense, or that a reader has to puzzle over, with what to write instead.
WORDS = {
    r"roll calls?": "pod probe",
    r"borders?": "edge",
    r"kept streams?": "reconnecting stream",
    r"(?:short|long) way": "there is one way",
    r"whoever": "who it is",
    r"lets? go": "release",
    r"who counts|is told so": "a plain sentence",
}


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 150


@pytest.mark.parametrize("name", READ)
def test_each_link_leads_somewhere(name: str) -> None:
    for target in links(name):
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(str(file.relative_to(ROOT))), target


def test_each_page_is_in_the_table_of_contents() -> None:
    assert {f"docs/{target}" for target in links("docs/README.md")} >= set(PAGES) - {
        "README.md",
        "docs/README.md",
    }


def test_each_picture_is_shown() -> None:
    shown = {Path(target).name for name in PAGES for target in links(name)}
    assert {path.name for path in (ROOT / "docs").glob("*.svg")} <= shown


def test_make_targets_are_those_of_the_makefile() -> None:
    named = {
        name.removeprefix("make ")
        for name in table_names("docs/README.md")
        if re.match(r"make [\w-]+$", name)
    }
    assert named == DOCUMENTED


@pytest.mark.parametrize("name", READ)
def test_each_make_command_has_its_target(name: str) -> None:
    for command in commands(name) + CODE.findall(page(name)):
        if command.startswith("make "):
            words = re.sub(r"[A-Z_]+=('[^']*'|\S*)", "", command).split()[1:]
            assert set(words) <= TARGETS, command


@pytest.mark.parametrize("name", PAGES)
def test_each_command_is_of_a_program_that_the_page_may_use(name: str) -> None:
    assert {command.split()[0] for command in commands(name) if command} <= PROGRAMS


@pytest.mark.parametrize("name", READ)
def test_each_path_exists(name: str) -> None:
    codes = commands(name) + CODE.findall(page(name))
    code = "\n".join(
        code for code in codes if not code.startswith("git log")
    )  # what git still has may be gone
    for path in re.findall(rf"(?<![\w./-]){FOLDERS}/[\w./-]+(?![\w<*])", code):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", READ)
def test_each_python_program_exists(name: str) -> None:
    for module in re.findall(r"python -m ([\w.]+)", page(name)):
        path = ROOT / module.replace(".", "/")
        found = [
            path.with_suffix(".py"),
            path / "__main__.py",
            ROOT / "services" / path.relative_to(ROOT) / "__main__.py",
        ]
        assert any(file.exists() for file in found), module


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_written_in_usual_words(name: str) -> None:
    text = CODE.sub("", prose(name))
    for word, better in WORDS.items():
        found = re.search(rf"\b(?:{word})\b", text, re.IGNORECASE)
        assert not found, f"'{found[0]}': write '{better}'"


def test_versions_are_those_that_are_required() -> None:
    first, after = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert f"Python 3.{first} to 3.{int(after) - 1}," in page("README.md")
    chart = yaml.safe_load((ROOT / "charts/inferencehub/Chart.yaml").read_text())
    kubernetes = re.findall(r"1\.\d+", chart["kubeVersion"])[0]
    for name in ("README.md", "docs/kubernetes.md"):
        assert f"Kubernetes {kubernetes} or newer" in page(name), name
