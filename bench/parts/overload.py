"""Overload: twice the rate that a model can answer, for a minute: `python -m bench.parts.overload`.

A model that takes 5 ms for a row, with four slots, sets the capacity. Its rate in a closed loop is the peak. Then
requests come at twice that rate in an open loop, each with a deadline of one second. The result is the goodput: right
answers within the deadline, which begins at the request's planned time. An answer counts in the second in which it
arrives. Refusals should arrive immediately.

A server may survive an overload at first and collapse later. So the goodput of the last ten seconds is compared with
the median over all windows of ten seconds after the first ten, and with the peak.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median

import uvloop

from bench.load.clients import Load
from bench.load.connection import http
from bench.load.open_loop import LOST, Answer, OpenLoop
from bench.load.samples import samples_of
from bench.report.results import Results, Run
from bench.servers.processes import can_pin
from bench.servers.stack import mock_config, running_stack

SLOTS, DELAY_MS, CLIENTS = 4, 5.0, 64
DEADLINE_S, TIMES = 1.0, 2.0
PEAK_S, WINDOW_S = 8.0, 10.0
LATE_MS = 10.0  # from here on the load is part of what is measured
REFUSED = (429, 503)


async def measure(seconds: float, pin: bool) -> tuple[Run, list[Answer]]:
    """Peak, then overload."""
    with running_stack({"five-ms": mock_config(DELAY_MS, SLOTS)}, pin) as stack:
        await stack.until_ready("five-ms")
        samples = await samples_of(stack.host, stack.port, "five-ms")
        peak = await Load(stack.host, stack.ports, samples, CLIENTS).run(
            1.0, PEAK_S, stack.cpu_seconds, "peak"
        )
        body = {"model_name": "five-ms", "features": [0.5, 1.0, 2.0]}
        deadline = f"x-request-timeout-ms: {DEADLINE_S * 1000:.0f}\r\n"
        requests = [http("POST", "/predict", body, headers=deadline)]
        before = sum(stack.cpu_seconds())
        answers = await OpenLoop(stack.host, stack.port, requests, TIMES * peak.rate).run(
            seconds, 5 * DEADLINE_S
        )
        used = sum(stack.cpu_seconds()) - before
    figures = {**summary(answers, seconds), "peak": peak.rate, "cpu_share": used / seconds}
    figures["share"] = figures["goodput"] / peak.rate
    figures["last_to_peak"] = figures["last"] / peak.rate
    wanted = round(TIMES * peak.rate * seconds)
    errors = Counter({"never answered": wanted - len(answers), "lost": lost(answers), **peak.errors})
    return Run("overload", "ours", figures, {kind: count for kind, count in errors.items() if count}), answers


def lost(answers: Sequence[Answer]) -> int:
    """Requests whose connection went away, and answers that blame the servers."""
    return sum(answer.status in (LOST, 500, 502) for answer in answers)


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, float]:
    """Goodput over all, in the second and the last ten seconds, and how long refusals and good answers took."""
    good = goodput(answers, seconds)
    second, last = good[min(1, len(good) - 1)], good[-1]
    steady = median(good[1:] or good)
    took = [answer.took for answer in answers if is_good(answer)]
    return {
        "goodput": sum(good) / len(good),
        "second": second,
        "last": last,
        "last_to_second": last / second if second else 0.0,
        "last_to_steady": last / steady if steady else 0.0,
        "good_p99_ms": percentile(took, 0.99) * 1e3,
        "refused": sum(answer.status in REFUSED for answer in answers) / seconds,
        "refused_p50_ms": percentile(refusals(answers), 0.5) * 1e3,
        "refused_p99_ms": percentile(refusals(answers), 0.99) * 1e3,
        "expired": sum(answer.status == 504 for answer in answers) / seconds,
        "lag_p99_ms": percentile([answer.lag for answer in answers], 0.99) * 1e3,
    }


def is_good(answer: Answer) -> bool:
    """Whether it is right and in time."""
    return answer.status == 200 and answer.took <= DEADLINE_S


def goodput(answers: Sequence[Answer], seconds: float) -> list[float]:
    """Good answers a second, in each of the equal windows of about ten seconds that a run has."""
    count = max(1, round(seconds / WINDOW_S))
    came = Counter(int(arrived(answer) * count / seconds) for answer in answers if is_good(answer))
    return [came[at] * count / seconds for at in range(count)]


def arrived(answer: Answer) -> float:
    """Seconds from the start at which it came."""
    return answer.planned + answer.took


def refusals(answers: Sequence[Answer]) -> list[float]:
    """Seconds that each refusal took."""
    return [answer.took for answer in answers if answer.status in REFUSED]


def percentile(values: Sequence[float], share: float) -> float:
    """The value within which this share lies; 0 of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def overload(results: Results, seconds: float, pin: bool) -> None:
    """Into `results`, with the seconds one by one for the plot."""
    run, answers = uvloop.run(measure(seconds, pin))
    results.runs.append(run)
    results.series["overload"] = by_second(answers, seconds)
    if (late := run.figures["lag_p99_ms"]) > LATE_MS:
        results.notes.append(
            f"overload: 1% of the requests left {late:.0f} ms late or more; the load was held up"
        )


def by_second(answers: Sequence[Answer], seconds: float) -> dict[str, list[float]]:
    """Good answers, refusals and the p99 of good answers, by the second in which they came."""
    seconds_of = [[answer for answer in answers if int(arrived(answer)) == at] for at in range(int(seconds))]
    good = [[answer.took for answer in some if is_good(answer)] for some in seconds_of]
    return {
        "good": [float(len(took)) for took in good],
        "refused": [float(len(refusals(some))) for some in seconds_of],
        "good_p99_ms": [percentile(took, 0.99) * 1e3 for took in good],
    }


def main() -> int:
    """Exit code 1 where requests were lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length (%(default)s)")
    options = parser.parse_args()
    run, _ = uvloop.run(measure(options.seconds, can_pin()))
    for name, value in run.figures.items():
        print(f"{name:16} {value:10.3f}")
    print(f"errors {run.errors or 'none'}")
    return 1 if run.errors else 0


if __name__ == "__main__":
    sys.exit(main())
