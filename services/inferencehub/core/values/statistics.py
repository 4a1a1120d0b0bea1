"""Counters of one model version, exact since the process started (Triton's statistics extension).

A request is counted once, when it ends: as a success with its times, or as a failure. Rows and runs are those of
successful requests. All durations are sums in seconds and never fall.
"""

from __future__ import annotations

from time import time

from inferencehub.core.values.requests import Times


class RunsOfSize:
    """The runs with one number of rows: how many, and the seconds of their parts."""

    __slots__ = ("count", "infer", "input", "output")

    def __init__(self) -> None:
        self.count = 0
        self.input = self.infer = self.output = 0.0


class Counters:
    """See the module's text.

    `last` is when the last request ended, in seconds since 1970, 0 for never. `took`, `waited`, `input`, `infer` and
    `output` are the times of the successful requests. Requests that ran together each have the times of their run.
    """

    __slots__ = (
        "failed_requests", "failed_took", "infer", "input", "last", "output", "requests", "rows", "runs", "sizes", "took",
        "waited",
    )  # fmt: skip

    def __init__(self) -> None:
        self.last = 0.0
        self.requests = self.rows = self.runs = self.failed_requests = 0
        self.took = self.waited = self.input = self.infer = self.output = self.failed_took = 0.0
        self.sizes: dict[int, RunsOfSize] = {}  # by their number of rows

    # One method and no smaller ones: it is called for each batch.
    def answered(
        self, requests: int, rows: int, took: float, waited: float, times: Times, run_rows: int
    ) -> None:
        """Count requests that were answered together.

        Args:
            requests, rows: how many, and their rows.
            took, waited: sums of their times, and of their times in queues.
            times: the times of their run.
            run_rows: rows of the run; 0 if the run is counted elsewhere.
        """
        self.last = time()
        input, output = times.input, times.output
        infer = times.compute - input - output
        if infer < 0:  # the gateway gets each of them in whole microseconds
            infer = 0.0
        self.requests += requests
        self.rows += rows
        self.took += took
        self.waited += waited
        self.input += requests * input
        self.infer += requests * infer
        self.output += requests * output
        if run_rows:
            self.runs += 1
            size = self.sizes.get(run_rows)
            if size is None:
                size = self.sizes[run_rows] = RunsOfSize()
            size.count += 1
            size.input += input
            size.infer += infer
            size.output += output

    def failed(self, requests: int, took: float) -> None:
        """Count requests that failed, with the sum of their times."""
        self.last = time()
        self.failed_requests += requests
        self.failed_took += took


class Statistics:
    """The counters of all model versions of a process. They stay when a model or its last pod goes."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, str], Counters] = {}  # by name and version

    def of(self, name: str, version: str) -> Counters:
        """The counters of a model version, made at the first use."""
        counters = self.counters.get((name, version))
        if counters is None:
            counters = self.counters[name, version] = Counters()
        return counters
