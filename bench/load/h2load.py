"""A closed loop with h2load. It is written in C, so one core can send requests faster than any server here answers.

Each client waits for its answer before it sends the next request. h2load comes with nghttp2 and speaks HTTP/1.1 and
HTTP/2, so it can test both tiers. It was chosen instead of wrk because it records each request's time. wrk invents
times for requests that a stall kept from being sent, and has no warm-up on the connections that it measures: with 64
clients, it showed a p99 of 250 to 600 ms for FastAPI, where each request's recorded time says 24 to 50 ms.

h2load does not know gRPC, so an error in the trailers looks like a good answer. Use a `Checker` next to it.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from bench.load.questions import Question

MISSING = "h2load is not installed: apt-get install nghttp2-client, or brew install nghttp2"
WARM_UP_S = 1
GRPC = {"content-type": "application/grpc", "te": "trailers"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients saw after the warm-up: right answers, seconds, errors by kind, latencies.

    `busy` is the share of a core that they took, `cpu_s` the seconds of CPU that those took who were watched.
    """

    answers: int
    seconds: float
    errors: dict[str, int]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    busy: float = 0.0
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def figures(self, requests: int = 1) -> dict[str, float]:
        """For a run; `requests` are those that one answer stands for."""
        return {
            "rate": self.rate * requests,
            "p50_ms": self.p50_ms,
            "p90_ms": self.p90_ms,
            "p99_ms": self.p99_ms,
            "cpu_us": self.cpu_s * 1e6 / max(1, self.answers * requests),
            "load_busy": self.busy,
        }


def installed() -> bool:
    """Whether h2load is there."""
    return shutil.which("h2load") is not None


def ask_http(port: int, question: Question, clients: int, seconds: float, cpu: Callable[[], float]) -> Seen:
    """Ask one question over HTTP/1.1 again and again, each client over a connection of its own.

    Args:
        port: on this machine.
        question: what all send.
        clients: connections.
        seconds: whole ones; h2load knows no others.
        cpu: seconds of CPU that those who are watched have used so far.
    """
    return ask_ports((port,), question, clients, seconds, cpu)


def ask_ports(
    ports: Sequence[int], question: Question, clients: int, seconds: float, cpu: Callable[[], float]
) -> Seen:
    """The same with the clients shared out over several ports, each asked by a process of its own."""
    urls = [f"http://127.0.0.1:{port}{question.path}" for port in ports]
    options = ["--h1", f"-c{clients // len(ports)}"]
    return run(urls, question.headers, question.body, options, seconds, cpu)


def ask_times(port: int, question: Question, clients: int, requests: int) -> None:
    """Ask one question a number of times, whatever time that takes.

    Raises:
        RuntimeError: where a request was not answered with a 2xx status.
    """
    with tempfile.TemporaryDirectory(prefix="hub-h2load-") as folder:
        data = Path(folder, "data")
        data.write_bytes(question.body)
        words = [word for name, value in question.headers.items() for word in ("-H", f"{name}: {value}")]
        url = f"http://127.0.0.1:{port}{question.path}"
        command = ["h2load", "-t1", "--h1", f"-c{clients}", f"-n{requests}", "-d", str(data), *words, url]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if f" {requests} succeeded" not in text or f"status codes: {requests} 2xx" not in text:
        raise RuntimeError(f"h2load failed: {text[-300:]}")


def call_grpc(
    port: int,
    method: str,
    message: bytes,
    connections: int,
    streams: int,
    seconds: float,
    cpu: Callable[[], float],
) -> Seen:
    """Call a unary method again and again.

    Args:
        port: on this machine.
        method: its path, /package.Service/Method.
        message: the request's protobuf bytes.
        connections: TCP connections.
        streams: calls in flight on each.
        seconds: whole ones.
        cpu: as above.
    """
    body = struct.pack(">BI", 0, len(message)) + message
    options = [f"-c{connections}", f"-m{streams}"]
    return run([f"http://127.0.0.1:{port}{method}"], GRPC, body, options, seconds, cpu)


def run(
    urls: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    options: Sequence[str],
    seconds: float,
    cpu: Callable[[], float],
) -> Seen:
    """A warm-up and a run, of all URLs at once."""
    with tempfile.TemporaryDirectory(prefix="hub-h2load-") as folder:
        data, logs = Path(folder, "data"), [Path(folder, f"log-{index}") for index in range(len(urls))]
        data.write_bytes(body)
        words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        length = max(1, round(seconds))
        command = [
            "h2load", "-t1", *options, f"-D{length}", f"--warm-up-time={WARM_UP_S}", "-d", str(data), *words,
        ]  # fmt: skip
        began = perf_counter()
        children = [
            subprocess.Popen(
                [*command, f"--log-file={log}", url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for log, url in zip(logs, urls, strict=True)
        ]
        sleep(WARM_UP_S)
        before = cpu()
        ended = [end_of(child) for child in children]
        cpu_s = cpu() - before
        busy = sum(used_s for _, used_s in ended) / (perf_counter() - began)
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        took_us = sorted(int(line.split("\t")[2]) for line in lines)
    return parsed([text for text, _ in ended], took_us, length, busy, cpu_s)


def end_of(child: subprocess.Popen[bytes]) -> tuple[str, float]:
    """What an h2load has printed once it has ended, and the seconds of CPU that it took."""
    assert child.stdout is not None
    text = child.stdout.read().decode()
    child.stdout.close()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return text, used.ru_utime + used.ru_stime


def parsed(
    texts: Sequence[str], took_us: Sequence[int], seconds: float, busy: float = 0.0, cpu_s: float = 0.0
) -> Seen:
    """What h2load printed and logged.

    Args:
        texts: the output of each.
        took_us: microseconds of each request, sorted.

    Raises:
        RuntimeError: where one did not come to an end, or nothing was answered.
    """
    counts = [0, 0, 0, 0]
    for text in texts:
        found = re.search(r"requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        if not found or not took_us:
            raise RuntimeError(f"h2load failed: {text[-300:]}")
        counts = [count + int(more) for count, more in zip(counts, found.groups(), strict=True)]
    answers, failed, errored, late = counts
    kinds = {"failed": failed, "errored": errored, "timeout": late}
    errors = {kind: count for kind, count in kinds.items() if count}
    p50, p90, p99 = (took_us[min(len(took_us) - 1, int(share * len(took_us)))] for share in (0.5, 0.9, 0.99))
    return Seen(answers, seconds, errors, p50 / 1e3, p90 / 1e3, p99 / 1e3, busy, cpu_s)
