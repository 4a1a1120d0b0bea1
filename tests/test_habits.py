"""The files that contributors need exist, and they name only things that exist."""

from __future__ import annotations

import ast
import re
import tomllib

from inferencehub import __version__
from inferencehub.core.process.settings import variables
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from tests.each import for_each
from tests.hub import ROOT

PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PATH = re.compile(r"`(?!\.venv)([\w<>.-]+(?:/[\w<>.-]*)+|[\w-]+\.(?:md|toml))`")
# Folders that come with what they are for.
LATER = {"services/inferencehub/gateway/jobs/"}


def paths() -> set[str]:
    """What CONTRIBUTING.md names: whole paths, and in the layout's table names within the folder of their row."""
    found: set[str] = set()
    for line in CONTRIBUTING.splitlines():
        names = PATH.findall(line)
        row = line.startswith("| `services/inferencehub/")
        found |= {names[0] + name for name in names[1:] if row and not name.startswith("proto")}
        found |= set(names[:1] if row else names)
    return found


def test_it_finds_paths() -> None:
    assert {"pyproject.toml", "services/inferencehub/core/lane/", "tests/test_arrows.py"} <= paths()


@for_each(sorted(paths()))
def test_a_path_that_contributors_are_sent_to_exists(path: str) -> None:
    parent, invented, _ = path.partition("<")  # a newcomer chooses the name; its folder is there
    place = ROOT / (parent.rpartition("/")[0] if invented else path)
    if path in LATER:
        return
    assert place.is_dir() if path.endswith("/") else place.exists()


@for_each(PAGES)
def test_links_between_the_pages_work(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_commands_that_contributors_type_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)(?:\w+=\S+ )*make ([a-z0-9-]+)", CONTRIBUTING, re.MULTILINE))
    assert len(named) > 8
    assert named <= targets


def test_the_changelog_has_what_comes_and_this_version() -> None:
    titles = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased"
    assert __version__ == PROJECT["version"] == titles[1]


def test_settings_that_security_names_exist() -> None:
    names = {name for cls in (GatewaySettings, InferenceSettings) for name, _ in variables(cls)}
    assert set(re.findall(r"HUB_\w+", (ROOT / "SECURITY.md").read_text())) <= names


def test_the_licence_is_the_standard_text_and_everywhere_the_same() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"
    for image in ROOT.glob("Dockerfile.*"):
        assert 'org.opencontainers.image.licenses="Apache-2.0"' in image.read_text()


def test_supported_pythons_are_those_of_the_package() -> None:
    row = re.search(r"^\| Python \| ([\d., ]+) \|", CONTRIBUTING, re.MULTILINE)
    assert row is not None
    prefix = "Programming Language :: Python :: 3."
    declared = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if name.startswith(prefix)]
    assert row[1].split(", ") == declared
    least, beyond = re.findall(r"3\.\d+", PROJECT["requires-python"])
    assert (least, beyond) == (declared[0], f"3.{int(declared[-1][2:]) + 1}")
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"python{version} " in makefile for version in declared)


def test_no_service_waits_with_wait_for() -> None:
    """On Python 3.11 it can lose a cancellation (cpython issue 86296); `asyncio.timeout` cannot."""
    for file in (ROOT / "services").rglob("*.py"):
        text = file.read_text()
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.name
            for node in ast.walk(ast.parse(text if "wait_for" in text else ""))
            if isinstance(node, ast.Attribute | ast.alias)
        }
        assert "wait_for" not in names, f"{file.relative_to(ROOT)}: use asyncio.timeout"
