"""What an answer to a changed request may be: right, or a refusal with a sentence that says why."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

# What no tier can do; a sentence with UNIMPLEMENTED or 501 names one of these.
FEATURE = re.compile(
    r"models are not loaded or unloaded|tracing is not supported|shared memory is not supported|parameter '[^']+'"
    r"|log settings? |several answers|expected a row for each of|the streams of gateways|/predict cannot serve|cannot become a job"
)
# Sentences of errors that nobody foresaw, on streams that carry no status.
UNFORESEEN = re.compile(r"its log (says why|has it)|[Ee]xception|Traceback|Error\b|<class|object at 0x")
# The server's own fault, or the model's; no model of these tests fails.
SERVERS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED", "500", "502"}


class Outcomes:
    """The answers of a run: how many of each status, and those that must not be."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong: list[tuple[Any, ...]] = []

    def refused(self, status: str, sentence: str, sent: Any) -> None:
        """Note a request that was refused."""
        self.statuses[status] += 1
        named = status not in ("UNIMPLEMENTED", "501") or FEATURE.search(sentence)
        if status in SERVERS or len(sentence) < 10 or not named or UNFORESEEN.search(sentence):
            self.wrong.append((status, sentence, sent))

    def answered(self, status: str = "OK") -> None:
        """Note a request that was answered."""
        self.statuses[status] += 1

    def wrong_value(self, got: Any, sent: Any) -> None:
        """Note an answer that is not the right one."""
        self.wrong.append(("wrong", got, sent))

    def check(self) -> None:
        """Show the numbers; fail if an answer must not be."""
        print("answers:", dict(sorted(self.statuses.items())))
        assert not self.wrong, "\n".join(
            [f"{len(self.wrong)} of them:", *[repr(one)[:1500] for one in self.wrong[:5]]]
        )
