"""A made-up run of the autoscaling demo: a little load, full load, no load."""

from __future__ import annotations

from dataclasses import replace

from demo.timeline import Sample

CALM = Sample(0, 2, 2, 1.0, 0, 0.25, 12.0, 1, 1, 2, 0)


def samples(follows: bool = True) -> list[Sample]:
    """10 s of 2/s, 60 s of 24/s, 40 s of nothing. If pods follow the load, 4 are wanted 15 s after it begins and ready 5 s later,
    the queue is empty 10 s after that, and one pod is left 25 s after the load."""
    made = []
    for second in range(110):
        into, after = second - 10, second - 70
        now = replace(CALM, at_s=float(second), sent=2 * second)
        if 0 <= into < 60:
            served = follows and into >= 30
            now = replace(
                now, wanted=24, answered=24 if served else 8, queue_p95_ms=1.0 if served else 300.0 * into
            )
        elif after >= 0:
            now = replace(now, wanted=0, answered=0, queue_p95_ms=None, demand=None, cpu_percent=None)
        if follows and into >= 15 and after < 25:
            now = replace(now, asked=4, ready=4 if into >= 20 else 1)
        made.append(now)
    return made
