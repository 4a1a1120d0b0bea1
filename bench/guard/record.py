"""The figures that the guard compares with: recorded.json, with a record for each supported version of Python.

Counts and costs depend on the version of Python, so each version has its own record. The guard fails if the record is
missing. A new record must not be worse. If an intended change makes requests more expensive, `--record --because
REASON` writes the reason next to the figures; the commit message must give it, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.paths import ROOT

RECORDED = ROOT / "bench" / "guard" / "recorded.json"
LOST = 0.25  # of the ratio, whose turns lay between 0.26 and 0.58 in one run
# Of the calls in both tiers. With 1 client a run of the model in a thread of the pod takes 3% more than one in its event
# loop, and the speed of the machine decides which it is.
RISEN = 0.05
CLIENTS = ("1", "64")
MOST_AT_64 = 165  # calls in the gateway
RECORD_FIRST = (
    "record it with `python -m bench.guard --record` on the commit before the change, and commit {file}"
)


def python_of(about: Mapping[str, Any]) -> str:
    """The version that a record belongs to: 3.11 of 3.11.7."""
    return ".".join(about["versions"]["python"].split(".")[:2])


def verdicts(seen: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[bool, str]]:
    """For each figure: whether it is good enough, and a sentence about it.

    Args:
        seen: `ratio`, and `calls` of both tiers and of the gateway by the number of clients, with the versions.
        records: the same of earlier runs, by version of Python.
    """
    most = seen["calls"]["64"]["gateway"]
    yield most <= MOST_AT_64, f"gateway's calls with 64 clients {most:.0f}, {MOST_AT_64} are the most"
    python = python_of(seen)
    if python not in records:
        known = ", ".join(sorted(records)) or "no version"
        advice = RECORD_FIRST.format(file=RECORDED.relative_to(ROOT))
        yield False, f"there is no record for Python {python}, only for {known}: {advice}"
        return
    for name, good, now, then in compared(seen, records[python]):
        yield good, f"{name} {now:.4g}, recorded {then:.4g}: {now / then - 1:+.1%}"


def compared(seen: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[tuple[str, bool, float, float]]:
    """Each figure's name, whether it is good enough, its value and the recorded one."""
    yield "ratio", seen["ratio"] >= record["ratio"] * (1 - LOST), seen["ratio"], record["ratio"]
    for clients in CLIENTS:
        now, then = seen["calls"][clients]["both"], record["calls"][clients]["both"]
        yield f"calls with {clients} client{'s' * (clients != '1')}", now <= then * (1 + RISEN), now, then


def worse(seen: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The figures that a new record would make worse than the old one says."""
    figures = [("ratio", -seen["ratio"], -record["ratio"])]
    for clients in CLIENTS:
        for part in ("both", "gateway"):
            name = f"calls with {clients}, {part}"
            figures.append((name, seen["calls"][clients][part], record["calls"][clients][part]))
    return [f"{name}: {abs(then):g} -> {abs(now):g}" for name, now, then in figures if now > then]


def read(file: Path = RECORDED) -> dict[str, dict[str, Any]]:
    """All records, by version of Python."""
    records: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return records


def write(seen: Mapping[str, Any], because: str = "", file: Path = RECORDED) -> None:
    """Write a run's figures down as the record of its version of Python.

    Raises:
        SystemExit: where a figure would become worse, and no reason is given.
    """
    records = read(file) if file.exists() else {}
    python = python_of(seen)
    rises = worse(seen, records[python]) if python in records else []
    if rises and not because:
        raise SystemExit(
            f"a record changes only for the better ({'; '.join(rises)}); or give --because REASON"
        )
    records[python] = {**seen, **({"because": because} if because else {})}
    file.write_text(json.dumps(dict(sorted(records.items(), key=order)), indent=1) + "\n")


def order(record: tuple[str, object]) -> tuple[int, ...]:
    """3.9 before 3.10."""
    return tuple(int(part) for part in record[0].split("."))
