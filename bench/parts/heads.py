"""Compares requests with different heads, or with credentials, to equal requests: `python -m bench.parts.heads`.

Behind a service mesh or a tracer, each request has a different `traceparent`; behind a login, each has an Authorization
header. h2load always sends the same bytes, which a server may cache. Each kind is sent with three floats and 64
clients, in turns, and each round has another order. The ratios compare the kinds within one round.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from random import Random
from statistics import median

import uvloop

from bench.load.checker import Checker, asking
from bench.load.questions import predict
from bench.load.raw_clients import RawClients
from bench.report.results import Results, Run
from bench.servers.processes import can_pin
from bench.servers.stack import Stack, running_stack

JOB, CLIENTS, WARM_UP_S = "heads", 64, 0.5
KINDS = ("equal", "traced", "authorized")
REQUESTS = 65_536  # of a kind, made before; at 25,000 a second none comes twice in 2.5 s
TOKEN_BYTES = 600  # of a signed token with some claims
CHECKS_A_SECOND = 10.0
BUSY = 0.85  # share of its core from which on the load may be what is measured


def requests_of(kind: str) -> list[bytes]:
    """As many requests for each kind: equal ones, each with a trace of its own, or each client with its own token."""
    question = predict("three")[0]
    draw = Random(0)
    head = f"POST {question.path} HTTP/1.1\r\nhost: bench\r\nuser-agent: bench\r\n"
    fixed = "".join(f"{name}: {value}\r\n" for name, value in question.headers.items())
    fixed += f"content-length: {len(question.body)}\r\n"
    tokens = [f"{draw.getrandbits(4 * TOKEN_BYTES):0{TOKEN_BYTES}x}" for _ in range(CLIENTS)]

    def own(index: int) -> str:
        if kind == "traced":
            return f"traceparent: 00-{draw.getrandbits(128):032x}-{draw.getrandbits(64):016x}-01\r\n"
        return f"authorization: Bearer {tokens[index % CLIENTS]}\r\n" if kind == "authorized" else ""

    return [f"{head}{own(index)}{fixed}\r\n".encode() + question.body for index in range(REQUESTS)]


def one_round(stack: Stack, loads: Mapping[str, RawClients], order: Sequence[str], seconds: float) -> Run:
    """Each kind once; its rate and CPU time, and both to those of equal heads (1.0 is as good)."""
    figures: dict[str, float] = {}
    errors: dict[str, int] = {}
    for kind in order:
        with asking(stack.port, predict("three")) as ask, Checker(ask, CHECKS_A_SECOND) as checker:
            seen = loads[kind].run(WARM_UP_S, seconds, lambda: sum(stack.cpu_seconds()))
        errors |= {**seen.errors, **checker.wrong}
        measured = seen.figures()
        figures |= {f"{kind}_{name}": measured[name] for name in ("rate", "cpu_us", "p99_ms", "load_busy")}
    for kind in KINDS[1:]:
        figures[f"{kind}_to_equal"] = figures[f"{kind}_rate"] / figures["equal_rate"]
        figures[f"{kind}_to_equal_by_cpu"] = figures["equal_cpu_us"] / figures[f"{kind}_cpu_us"]
    return Run(JOB, "ours", figures, errors)


async def until_ready(stack: Stack) -> None:
    """Wait for the model."""
    await stack.until_ready("three")


def heads(results: Results, rounds: int, seconds: float, pin: bool) -> None:
    """All rounds, into `results`."""
    requests = {kind: requests_of(kind) for kind in KINDS}
    with running_stack(pin=pin) as stack:
        uvloop.run(until_ready(stack))
        loads = {kind: RawClients(stack.port, each, CLIENTS) for kind, each in requests.items()}
        for turn in range(rounds):
            first = turn % len(KINDS)
            results.runs.append(one_round(stack, loads, KINDS[first:] + KINDS[:first], seconds))
    busy = max(results.median(JOB, "ours", f"{kind}_load_busy") or 0.0 for kind in KINDS)
    if busy > BUSY:
        results.notes.append(f"{JOB}: the load took {busy:.0%} of its core")


def main() -> int:
    """Exit code 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.heads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="runs of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run (%(default)s)")
    options = parser.parse_args()
    results = Results()
    heads(results, options.rounds, options.seconds, can_pin())
    for figure in results.runs[0].figures:
        values = results.values(JOB, "ours", figure)
        print(f"{figure:26} {median(values):10.3f}  from {min(values):.3f} to {max(values):.3f}")
    print(*results.notes, sep="\n")
    failed = [run.errors for run in results.failed()]
    print(f"errors {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
