"""The pages of the documentation, read for tests: their text, tables, headings, links and commands."""

from __future__ import annotations

import re
from functools import cache

from tests.hub import ROOT

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@cache
def page(name: str) -> str:
    """The text of a page; `name` is relative to the repository."""
    return (ROOT / name).read_text()


def table_names(name: str) -> set[str]:
    """What stands in backquotes in the tables of a page."""
    rows = [line for line in page(name).splitlines() if line.startswith("|")]
    return {code for row in rows for code in CODE.findall(row)}


def prose(name: str) -> str:
    """A page without its code blocks."""
    return FENCED.sub("", page(name))


def links(name: str) -> list[str]:
    """The targets of a page's links and pictures that do not leave the repository."""
    targets = LINK.findall(CODE.sub("", prose(name)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(name), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-")
        seen = found.get(slug, 0)
        found[slug] = seen + 1
        result.add(f"{slug}-{seen}" if seen else slug)
    return result


def commands(name: str) -> list[str]:
    """The commands of a page: the lines of its shell blocks, each without its comment."""
    blocks = [text for language, text in FENCED.findall(page(name)) if language == "sh"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if not line.startswith("#")]
