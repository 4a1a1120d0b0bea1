"""gRPC to the model servers: our pod, our gateway, Triton and MLServer get the same ModelInfer calls.

Our pod also gets the calls that our gateway makes, with several requests merged into one call; each request counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.load.checker import Checker
from bench.load.grpc_calls import CALLS, INFER, Call, asking
from bench.load.h2load import call_grpc
from bench.parts.closed_loop import Say
from bench.report.results import Results, Run
from bench.servers.served import Served

CHECKS_A_SECOND = 5.0


def one_run(served: Served, call: Call, seconds: float) -> Run:
    """A run, after a warm-up on the same connections."""
    site, message = served.site, call.message()
    port = site.front_port if call.through and served.peer.has_gateway else site.grpc_port
    with served.alone(), asking(port, call) as ask, Checker(ask, CHECKS_A_SECOND) as checker:
        seen = call_grpc(
            port, INFER, message, call.connections, call.streams, seconds, served.group.cpu_seconds
        )
    figures = {**seen.figures(call.merged), "checked": checker.asked}
    return Run(call.job, served.peer.name, figures, {**seen.errors, **checker.wrong})


def direct(running: Sequence[Served], rounds: int, seconds: float, results: Results, say: Say) -> None:
    """All calls, round by round, into `results`."""
    for turn in range(rounds):
        for call in CALLS:
            for served in running:
                if served.peer.name in call.peers:
                    say(f"round {turn + 1} of {rounds}: {call.title}: {served.peer.name}")
                    results.runs.append(one_run(served, call, seconds))
