"""Asks both tiers, and a live Triton, with the clients of others, and compares each answer: `make conformance`.

The models, their names, shapes and values are drawn from a seed, so that no answer can be known before. SEED=… repeats
a run. CLIENTS=tritonclient,kserve runs some of the clients, and leaves the table in docs/clients.md as it is. The exit
code is 1 where something is not as it is listed, and where a client is missing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from time import monotonic

from bench.paths import ROOT, TRITON
from conformance import models, table
from conformance.clients.plan import write
from conformance.judge import Verdict, judge, listed
from conformance.run import CLIENTS, Found, ask, install
from conformance.servers import running

LINES = ROOT / "build" / "conformance" / "lines.jsonl"  # all that the clients reported in the last run


def main() -> None:
    """One run."""
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(10**9))
    names = [name for name in os.environ.get("CLIENTS", "").split(",") if name]
    if unknown := set(names) - {client.name for client in CLIENTS}:
        known = ", ".join(client.name for client in CLIENTS)
        raise SystemExit(f"no client is called {', '.join(sorted(unknown))}; expected some of {known}")
    clients = [client for client in CLIENTS if not names or client.name in names]
    print(
        f"SEED={seed}; compared with numpy{' and a live Triton' if TRITON else ', and not with Triton: TRITON_SERVER is not set'}"
    )
    began = monotonic()
    found = Found()
    installed = install(clients, found)
    print(f"environments of {len(installed)} clients are there after {monotonic() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="hub-conformance-") as folder:
        place = Path(folder)
        plan = models.make(seed, place / "drawn")
        write(plan, place / "plan.json")
        with running(place / "drawn", plan.models, place, triton=bool(TRITON)) as targets:
            print(f"the servers are ready after {monotonic() - began:.0f} s", flush=True)
            ask(installed, place / "plan.json", targets, found)
    LINES.parent.mkdir(parents=True, exist_ok=True)
    LINES.write_text("".join(json.dumps(asdict(line)) + "\n" for line in found.lines))
    verdict = judge(found.lines, listed())
    print(f"all asked after {monotonic() - began:.0f} s")
    good = summary(found, verdict, whole=not names)
    if TRITON and not names and good and table.write(table.made(found.lines, verdict, found.versions)):
        print("docs/clients.md has changed")
    sys.exit(not good)


def summary(found: Found, verdict: Verdict, whole: bool) -> bool:
    """Print what the run has shown; whether all is as it should be."""
    counted = Counter((line.client, line.transport, line.tier, line.result) for line in found.lines)
    for (client, transport, tier, result), times in sorted(counted.items()):
        print(f"{client:24} {transport:5} {tier:8} {result:8} {times:5}")
    for client, reason in found.absent.items():
        print(f"MISSING {client}: {reason}")
    for difference in verdict.unlisted:
        print(f"UNLISTED {difference}")
    for entry in verdict.gone if whole else []:
        print(f"GONE {entry.calls} {entry.cases} at {entry.at}: {entry.reason}")
    listed_ones = len(verdict.differences) - len(verdict.unlisted)
    good = not (verdict.unlisted or found.absent or (whole and verdict.gone))
    print(
        f"{len(found.lines)} calls, {listed_ones} listed differences, {len(verdict.unlisted)} unlisted: {'good' if good else 'NOT GOOD'}"
    )
    return good


if __name__ == "__main__":
    main()
