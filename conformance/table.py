"""The table of what works, written into docs/clients.md: a row for each client and kind of call, a column for each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.paths import ROOT
from conformance.judge import TRITON, Verdict
from conformance.run import Line

PAGE = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- made by make conformance -->", "<!-- end -->"
WAYS = {
    "gateway, HTTP": ("gateway", "HTTP"),
    "gateway, gRPC": ("gateway", "gRPC"),
    "pod, gRPC": ("pod", "gRPC"),
    "Triton, HTTP": (TRITON, "HTTP"),
    "Triton, gRPC": (TRITON, "gRPC"),
}
NONE, YES, NO = " ", "yes", "no"


def package(line: Line) -> str:
    """The client's package, whose flavours share their rows."""
    return line.client.partition(".")[0]


def made(lines: Sequence[Line], verdict: Verdict, versions: Mapping[str, str]) -> str:
    """The table in Markdown, and a note for each cell that says no; a flavour or a case that fails makes a cell fail."""
    notes: dict[str, int] = {}
    rows = [
        f"| client | calls | {' | '.join(WAYS)} |",
        f"|{'---|' * (len(WAYS) + 2)}",
    ]
    above = ""
    for client, call in dict.fromkeys((package(line), line.call) for line in lines):
        about = [line for line in lines if (package(line), line.call) == (client, call)]
        cells = [
            cell([x for x in about if (x.tier, x.transport) == way], verdict, notes) for way in WAYS.values()
        ]
        name = f"`{client}` {versions.get(client, '')}".strip() if client != above else ""
        rows.append(f"| {name} | {call} | {' | '.join(cells)} |")
        above = client
    listed = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([*rows, "", *listed]) + "\n"


def cell(lines: Sequence[Line], verdict: Verdict, notes: dict[str, int]) -> str:
    """One cell; `notes` has the reasons so far, with their numbers, and gets new ones."""
    asked = [line for line in lines if line.result != "cannot"]
    if not asked:
        return NONE
    bad = [line for line in asked if line.result != "ok"]
    if not bad:
        return YES
    reasons = {
        entry.reason
        for found, entry in verdict.differences
        if entry is not None and found.at == "result" and found.line in bad
    }
    numbers = sorted(notes.setdefault(reason, len(notes) + 1) for reason in sorted(reasons))
    return f"{NO} {', '.join(f'({number})' for number in numbers)}".strip()


def write(table: str, page: Path = PAGE) -> bool:
    """Put the table between its two marks in a page; whether that has changed the page."""
    before = page.read_text()
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    after = f"{head}{BEGIN}\n\n{table}\n{END}{tail}"
    page.write_text(after)
    return after != before
