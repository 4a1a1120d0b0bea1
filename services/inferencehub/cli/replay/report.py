"""What a replay has found: which answers differ, and how long they took."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Set
from time import monotonic
from typing import Any

from inferencehub.cli.replay.answers import differences
from inferencehub.cli.replay.sender import Answer, at_gateway
from inferencehub.core.http1.recording.line import RecordedCall

LATE_S = 0.1  # a call that is sent later than that was not sent when it should have been
SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class Report:
    """Takes answers, and says what they are.

    Args:
        tolerance, ignored: see `differences`.
        most_shown: calls whose differences are kept to be shown.
    """

    def __init__(self, tolerance: float, ignored: Set[str], most_shown: int) -> None:
        self._tolerance = tolerance
        self._ignored = ignored
        self._most_shown = most_shown
        self._started = monotonic()
        self.calls = self.differ = self.unanswered = self.late = 0
        self.latest_s = 0.0
        self.shown: list[dict[str, Any]] = []
        self.statuses: Counter[tuple[int, int]] = Counter()  # recorded and now
        # Of calls with the same status both times: an error that comes at once is no faster answer.
        self.recorded, self.replayed = array("d"), array("d")
        self.at_gateway = array("d"), array("d")

    def got(self, where: str, call: RecordedCall, answer: Answer) -> None:
        """Take the answer to a call."""
        self.calls += 1
        self.statuses[call.status, answer.status] += 1
        if answer.late_s > LATE_S:
            self.late += 1
            self.latest_s = max(self.latest_s, answer.late_s)
        if answer.error:
            self.unanswered += 1
            found = [f"no answer: {answer.error}"]
        else:
            found = differences(
                call.status, call.answer_headers, call.answer, *answer[:3], self._tolerance, self._ignored
            )
            self.differ += bool(found)
        if found and len(self.shown) < self._most_shown:
            self.shown.append({"at": where, "id": call.id, "path": call.path, "differences": found})
        if call.status == answer.status:
            self.recorded.append(call.seconds)
            self.replayed.append(answer.seconds)
            before, now = at_gateway(call.server_timing), at_gateway(answer.headers.get("server-timing", ""))
            if before is not None and now is not None:
                self.at_gateway[0].append(before)
                self.at_gateway[1].append(now)

    @property
    def same(self) -> bool:
        """Whether all calls were answered as before."""
        return not self.differ and not self.unanswered

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON. Times are in seconds."""
        return {
            "calls": self.calls,
            "same": self.calls - self.differ - self.unanswered,
            "differ": self.differ,
            "unanswered": self.unanswered,
            "seconds": round(monotonic() - self._started, 3),
            "late": self.late,
            "latest_s": round(self.latest_s, 3),
            "statuses": [
                {"recorded": before, "replayed": now, "calls": calls}
                for (before, now), calls in sorted(self.statuses.items())
            ],
            "latency": latency(self.recorded, self.replayed),
            "latency_at_gateway": latency(*self.at_gateway),
            "differences": self.shown,
        }

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        facts = self.facts()
        for one in self.shown:
            yield f"{one['path']}  {one['id']}  ({one['at']})"
            yield from (f"  {text}" for text in one["differences"])
            yield ""
        if (more := self.differ + self.unanswered - len(self.shown)) > 0:
            yield f"and {more} more that differ"
            yield ""
        yield (
            f"{self.calls} calls in {facts['seconds']:.1f} s: {facts['same']} the same, {self.differ} differ, "
            f"{self.unanswered} without an answer"
        )
        if self.late:
            yield (
                f"it could not keep up: {self.late} calls were sent more than {LATE_S:g} s late, the latest by "
                f"{self.latest_s:.1f} s; try a lower --speed or a higher --concurrency"
            )
        yield from table("status", ("recorded", "replayed", "calls"), [
            ("", str(one["recorded"]), str(one["replayed"] or "none"), str(one["calls"])) for one in facts["statuses"]
        ])  # fmt: skip
        for title, times in (("seconds", facts["latency"]), ("at the gateway", facts["latency_at_gateway"])):
            if times:
                yield from table(title, ("recorded", "replayed", "ratio"), [
                    (name, f"{one['recorded']:.4f}", f"{one['replayed']:.4f}", f"{one['ratio']:.2f}")
                    for name, one in times.items()
                ])  # fmt: skip


def latency(recorded: array[float], replayed: array[float]) -> dict[str, dict[str, float]]:
    """Percentiles of both in seconds, and the ratio of the second to the first; {} without any."""
    if not recorded:
        return {}
    before, now = sorted(recorded), sorted(replayed)
    found = {}
    for name, share in SHARES:
        at = min(len(before) - 1, int(share * len(before)))
        ratio = now[at] / before[at] if before[at] else 0.0
        found[name] = {
            "recorded": round(before[at], 6),
            "replayed": round(now[at], 6),
            "ratio": round(ratio, 3),
        }
    return found


def table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A table with a column of names and some of numbers."""
    yield ""
    yield f"{title:<16}" + "".join(f"{column:>12}" for column in columns)
    for name, *values in rows:
        yield f"{name:<16}" + "".join(f"{value:>12}" for value in values)
