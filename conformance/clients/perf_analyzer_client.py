"""Triton's perf_analyzer in its modes, each for a moment; it checks the answers itself where it is given them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from conformance.clients.plan import Case, Plan
from conformance.clients.report import Report, Target, WrongAnswerError, run

PROGRAM = Path(sys.executable).with_name("perf_analyzer")
# As short as it gets: windows of 20 requests, of which any three are alike enough.
SHORT = ["--measurement-request-count", "20", "-r", "3", "-s", "100000"]
BY_COUNT = ("--measurement-mode", "count_windows")
BY_TIME = ("--measurement-mode", "time_windows", "-p", "1000")
MODE_S = 60.0
AT_ONCE = 3
INTERVALS = "10000\n30000\n"  # µs between requests


@dataclass(frozen=True)
class Mode:
    """A way to measure: the row of the table that it belongs to, what it adds, the kind of case, the transports.

    Whole numbers alone: perf_analyzer 2.51 reads some fractions wrongly, and crashes over texts or booleans in JSON.
    """

    about: str
    options: tuple[str, ...]
    call: str = "measure"
    kind: str = "numbers"
    transports: tuple[str, ...] = ("HTTP", "gRPC")


MODES = (
    Mode("one at a time", BY_COUNT),
    Mode("windows by time", BY_TIME),
    Mode("concurrency", (*BY_COUNT, "--concurrency-range", "1:2:1")),
    Mode("asynchronous", (*BY_COUNT, "--async", "--concurrency-range", "4")),
    Mode("request rate", (*BY_COUNT, "--request-rate-range", "40")),
    Mode("intervals", (*BY_COUNT, "--request-intervals", "intervals")),
    Mode("percentile", (*BY_COUNT, "--percentile", "95")),
    Mode(
        "JSON", (*BY_COUNT, "--input-tensor-format", "json", "--output-tensor-format", "json"),
        transports=("HTTP",),
    ),
    Mode("gzip", (*BY_COUNT, "--grpc-compression-algorithm", "gzip"), transports=("gRPC",)),
    Mode("stream", (*BY_COUNT, "--async", "--streaming"), "stream", transports=("gRPC",)),
    Mode(
        "stream", (*BY_COUNT, "--async", "--streaming"), "stream, decoupled",
        kind="decoupled", transports=("gRPC",),
    ),
)  # fmt: skip


class RefusedError(Exception):
    """The program ended with an error of the server."""


def refusal(error: BaseException) -> str | None:
    """The program says no status."""
    return "" if isinstance(error, RefusedError) else None


async def calls(target: Target, plan: Plan, out: TextIO) -> None:
    """All modes over both transports, a few at a time: a mode takes three seconds, in which it mostly waits.

    Streams come one after the other, when all else is done: beside others they were seen to hang, at Triton.
    """
    ready()
    for transport, address in (("HTTP", target.http), ("gRPC", target.grpc)):
        if not address:
            continue
        report = Report("perf_analyzer", transport, target.tier, out, refusal)
        chosen = [(mode, plan.of(mode.kind)[0]) for mode in MODES if transport in mode.transports]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            begun = {
                mode: threads.submit(measured, mode, case, address, transport)
                for mode, case in chosen
                if mode.call == "measure"
            }
            for mode, future in begun.items():
                await report.call(mode.call, mode.about, future.result)
        for mode, case in chosen:
            if mode not in begun:
                await report.call(mode.call, mode.about, measured, mode, case, address, transport)


def ready() -> None:
    """Whether the program runs on this machine.

    Raises:
        SystemExit: with the reason where it does not.
    """
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()
        raise SystemExit(f"perf_analyzer needs Linux on x86-64 and libb64 (Debian's libb64-0d): {said}")


def data_of(case: Case) -> Mapping[str, Any]:
    """A case as a data file: one row where the model has rows, and what is expected where there is one answer."""

    def row(tensors: Sequence[Any]) -> dict[str, Any]:
        arrays = {one.name: one.array[0] if case.batched else one.array for one in tensors}
        return {name: {"content": plain(x), "shape": list(x.shape)} for name, x in arrays.items()}

    expected = {"validation_data": [row(case.answers[0])]} if len(case.answers) == 1 else {}
    return {"data": [row(case.inputs)], **expected}


def plain(array: Any) -> list[Any]:
    """The elements of an array as JSON has them."""
    return [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1).tolist()]


def measured(mode: Mode, case: Case, address: str, transport: str) -> None:
    """One measurement.

    Raises:
        RefusedError: where the program fails.
        WrongAnswerError: where it has measured nothing.
    """
    where = ["-m", case.model, "-x", case.version, "-u", address, "-i", transport.lower()]
    for tensor in case.inputs:  # which it can't take from the data
        where += ["--shape", f"{tensor.name}:{','.join(map(str, tensor.shape[case.batched :]))}"]
    files = ["--input-data", "data.json", "-f", "measured.csv"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data.json").write_text(json.dumps(data_of(case)))
        Path(folder, "intervals").write_text(INTERVALS)
        argv = [str(PROGRAM), *where, *files, *SHORT, *mode.options]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=MODE_S, check=False)
        if done.returncode:
            raise RefusedError(" ".join((done.stderr or done.stdout).split())[-250:])
        table = Path(folder, "measured.csv").read_text().split("\n\n")[0]
    rows = list(csv.DictReader(table.splitlines()))
    if not rows or any(float(row["Inferences/Second"]) <= 0 for row in rows):
        raise WrongAnswerError(f"it measured {rows}"[:300])


if __name__ == "__main__":
    run(calls)
