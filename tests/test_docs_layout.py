"""The layout in docs/architecture.md has exactly the folders of the package."""

from __future__ import annotations

import re

from tests.hub import ROOT
from tests.pages import FENCED, page

PACKAGE = ROOT / "services/inferencehub"


def drawn() -> set[str]:
    """The folders of the first picture of the page, as paths in the package."""
    path: list[str] = []
    folders = set()
    for indent, folder in re.findall(
        r"^( *)(\w+)/ ", FENCED.findall(page("docs/architecture.md"))[0][1], re.MULTILINE
    ):
        path[len(indent) // 2 :] = [folder]
        folders.add("/".join(path))
    return folders


def test_each_folder_is_drawn() -> None:
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    assert drawn() == packages
