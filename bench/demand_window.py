"""How long the scaler's window should be: short ones flap, long ones are late. Simulated, in seconds of real time.

`python -m bench.demand_window`. Poisson arrivals on pods of 4 slots and 500 ms; the demand is summed each second and
averaged over the window; a HorizontalPodAutoscaler reads it every 15 s, with Kubernetes' rules: a tolerance of 10 %,
up at once by at most the larger of 100 % and 4 pods, down to the highest wish of its window.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import mean

SLOTS, SERVICE_S, TARGET, TOLERANCE = 4, 0.5, 0.7, 0.1
PERIOD_S, START_S, DOWN_S = 15, 3, 60
WINDOWS_S = (1, 5, 10, 15, 30, 60)
HOUR_S = 3600
# Mean demands in pods, away from and close to where the number of pods changes (multiples of 0.7).
STEADY = (0.5, 0.68, 0.9, 1.4, 2.0, 2.75, 4.1)


def arrivals(
    rate: Callable[[float], float], most: float, draw: random.Random, until: float
) -> Iterator[float]:
    """Moments of a Poisson process whose rate changes."""
    at = 0.0
    while (at := at + draw.expovariate(most)) < until:
        if draw.random() * most < rate(at):
            yield at


class Pool:
    """Pods, and requests that run or wait."""

    def __init__(self) -> None:
        self.pods = 1
        self._ready: list[float] = []  # when pods that were asked for are ready
        self._running: list[float] = []  # ends
        self._waiting = 0

    def step(self, second: int, came: int, draw: random.Random) -> float:
        """A second with so many arrivals; the mean of slots that were needed."""
        needed = 0.0
        moments = sorted(second + draw.random() for _ in range(came))
        for part in range(20):
            now = second + (part + 1) / 20
            while moments and moments[0] <= now:
                moments.pop(0)
                self._waiting += 1
            while self._running and self._running[0] <= now:
                heapq.heappop(self._running)
            ready = self.pods - sum(at > now for at in self._ready)
            while self._waiting and len(self._running) < ready * SLOTS:
                heapq.heappush(self._running, now + SERVICE_S)
                self._waiting -= 1
            needed += len(self._running) + self._waiting
        return needed / 20

    def resize(self, pods: int, now: float) -> None:
        """New pods take a while."""
        self._ready = [at for at in self._ready if at > now] + [now + START_S] * max(0, pods - self.pods)
        self._ready = self._ready[: max(0, pods - 1)]
        self.pods = pods


def run(window_s: int, rate: Callable[[float], float], most: float, seconds: int, seed: int) -> list[int]:
    """The pods at each second."""
    draw = random.Random(seed)
    came = [0] * seconds
    for at in arrivals(rate, most, draw, seconds):
        came[int(at)] += 1
    pool, needs, wishes = Pool(), deque[float](maxlen=window_s), deque[tuple[int, int]]()
    pods = []
    phase = draw.randrange(PERIOD_S)
    for second in range(seconds):
        needs.append(pool.step(second, came[second], draw) / SLOTS)
        if second % PERIOD_S == phase:
            demand = mean(needs)
            ratio = demand / TARGET / pool.pods
            wish = pool.pods if abs(ratio - 1) <= TOLERANCE else max(1, math.ceil(demand / TARGET - 1e-9))
            wishes.append((second, wish))
            while wishes[0][0] <= second - DOWN_S:
                wishes.popleft()
            highest = max(pods for _, pods in wishes)
            goal = wish if wish > pool.pods else min(pool.pods, highest)
            pool.resize(min(goal, pool.pods + max(4, pool.pods)), second)
        pods.append(pool.pods)
    return pods


def main() -> None:
    """Print the table."""
    print(
        "| window | changes of size an hour, at a steady load | pods too many, mean | first pod asked for after a step, worst of 20 |"
    )
    print("|---|---|---|---|")
    for window_s in WINDOWS_S:
        changes, extra = [], []
        for pods in STEADY:
            rate = pods * SLOTS / SERVICE_S
            seen = run(window_s, lambda at, rate=rate: rate, rate, HOUR_S + 300, 1)[300:]  # type: ignore[misc]
            changes.append(sum(a != b for a, b in pairwise(seen)))
            extra.append(mean(seen) - math.ceil(pods / TARGET))
        late = []
        for seed in range(20):
            seen = run(window_s, lambda at: 24.0 if at >= 120 else 2.0, 24.0, 240, seed)
            late.append(next(second for second, pods in enumerate(seen) if second >= 120 and pods > 1) - 120)
        print(f"| {window_s} s | {mean(changes):.1f} | {mean(extra):+.2f} | {max(late)} s |", flush=True)


if __name__ == "__main__":
    main()
