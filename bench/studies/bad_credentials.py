"""How much later good callers get their answers beside bad credentials: `python -m bench.studies.bad_credentials`.

Both tiers are on one core, and have keys and JWTs. Good callers ask over HTTP at a constant rate: a model that takes no time,
and one of 10 ms. In turn they are alone, beside 10,000 calls in 30 s with bad credentials (half over HTTP, half over gRPC, a
third of them JWTs whose signature must be verified to be found wrong, each another one), beside as many that are all such
JWTs, and beside as many more good calls. Who sends them is a process of its own that gives way to the good callers. Times
begin when a request leaves, and ratios are those within a round.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

import grpc

from bench.load.connection import http
from bench.load.grpc_calls import CALLS, INFER
from bench.load.open_loop import OpenLoop
from bench.paths import ROOT
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import fill, pin_self, tier
from inferencehub.core.auth.key_file import digest, new_key
from tests.issuer import AUDIENCE, NAME, Issuer

GOOD_RATE, RATE = 250.0, 10_000 / 30  # calls a second
ROUNDS, SECONDS, PATIENCE_S = 7, 5.0, 5.0
COUNT = round(RATE * SECONDS / 2)  # over each front
MODELS = ("three", "waits")
WAITS = """backend: "mock"
input { name: "features" data_type: TYPE_FP32 dims: [-1] }
output { name: "class_id" data_type: TYPE_INT32 dims: [1] }
output { name: "confidence" data_type: TYPE_FP32 dims: [1] }
instance_group { count: 16 }
parameters { key: "delay_ms" value { string_value: "10" } }
parameters { key: "predict_class" value { string_value: "class_id" } }
parameters { key: "predict_confidence" value { string_value: "confidence" } }
"""
MESSAGE = CALLS[0].message()


@dataclass(frozen=True, slots=True)
class Sent:
    """Calls beside those of the good callers: `Authorization` of those over HTTP and over gRPC, in turn."""

    http: Sequence[str]
    grpc: Sequence[str]


@dataclass(frozen=True, slots=True)
class Round:
    """What a round has shown: percentiles of the good callers in ms, and the share of a core that the tiers used."""

    p50: float
    p99: float
    cores: float


class Beside:
    """A process that sends what is `Sent` for a round, and then tells how it was answered."""

    def __init__(self, port: int, grpc_port: int, sent: Sent) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers: Any = context.Queue()
        self._process = context.Process(target=send, args=(port, grpc_port, sent, self._answers))
        self._process.start()
        self._answers.get()  # it is about to begin

    def statuses(self) -> dict[str, int]:
        """How often which status came."""
        found: dict[str, int] = self._answers.get()
        self._process.join()
        return found


def send(port: int, grpc_port: int, sent: Sent, answers: Any) -> None:
    """The process."""
    os.nice(19)
    answers.put(None)
    answers.put(asyncio.run(send_all(port, grpc_port, sent)))


async def send_all(port: int, grpc_port: int, sent: Sent) -> dict[str, int]:
    """Half of the calls over HTTP, the others over gRPC."""
    requests = [predict("three", one) for one in sent.http]
    over_http = OpenLoop("127.0.0.1", port, requests, RATE / 2).run(SECONDS, PATIENCE_S)
    answers, found = await asyncio.gather(over_http, send_grpc(grpc_port, sent.grpc, RATE / 2))
    for answer in answers:
        found[str(answer.status)] = found.get(str(answer.status), 0) + 1
    return found


async def send_grpc(port: int, credentials: Sequence[str], rate: float) -> dict[str, int]:
    """Calls at a constant rate over one connection."""
    found: dict[str, int] = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(INFER)

        async def ask(credential: str) -> None:
            metadata = (("authorization", credential),) if credential else ()
            try:
                await method(MESSAGE, metadata=metadata, timeout=PATIENCE_S)
                status = "OK"
            except grpc.aio.AioRpcError as error:
                status = error.code().name
            found[status] = found.get(status, 0) + 1

        began, asked = perf_counter(), []
        for index in range(round(rate * SECONDS)):
            await asyncio.sleep(max(0.0, began + index / rate - perf_counter()))
            asked.append(asyncio.create_task(ask(credentials[index % len(credentials)])))
        await asyncio.gather(*asked)
    return found


def predict(model: str, credential: str) -> bytes:
    """A request over HTTP; without `Authorization` if the credential is ""."""
    line = f"authorization: {credential}\r\n" if credential else ""
    body = {"model_name": model, "features": [0.5, 1.5, 0.25]}
    return http("POST", "/predict", body, headers=line)


class Credentials:
    """A good key, and calls with bad credentials that were never seen before."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.keys = {name: new_key(name) for name in ("good", "old", "asks")}
        self._drawn = Random(1)
        self._parts = self.issuer.token().split(".")

    def files(self, place: Path) -> dict[str, str]:
        """The gateway's settings."""
        rights: dict[str, dict[str, Any]] = {
            "good": {},
            "old": {"not_after": "2020-01-31T00:00:00Z"},
            "asks": {"actions": ["describe"]},
        }
        entries = [
            {"id": name, "sha256": digest(key.encode()).hex(), **rights[name]}
            for name, key in self.keys.items()
        ]
        (place / "keys.json").write_text(json.dumps({"keys": entries}))
        (place / "jwks.json").write_bytes(self.issuer.key_set("RS256"))
        return {
            "HUB_API_KEYS": str(place / "keys.json"),
            "HUB_JWT_KEYS": str(place / "jwks.json"),
            "HUB_JWT_ISSUER": NAME,
            "HUB_JWT_AUDIENCE": AUDIENCE,
        }

    def bad(self, forged_each: int = 3) -> Sent:
        """For a round: of so many over each front, one is a token that must be verified, the others have bad keys."""
        keys = [f"Bearer {self.keys['old']}", f"Bearer {self.keys['asks']}", "", "Basic dXNlcjpwYXNz"]
        keys += [f"Bearer {new_key('stranger')}", f"Bearer {self.keys['good'][:-1]}"]
        mixed = [
            [self.forged() if index % forged_each == 0 else keys[index % len(keys)] for index in range(COUNT)]
            for _ in range(2)
        ]
        return Sent(mixed[0], mixed[1])

    def all_forged(self) -> Sent:
        """For a round: tokens that must be verified."""
        return self.bad(forged_each=1)

    def good(self) -> Sent:
        """For a round: as many good calls."""
        return Sent([self.bearer], [self.bearer])

    @property
    def bearer(self) -> str:
        """The good key."""
        return f"Bearer {self.keys['good']}"

    def forged(self) -> str:
        """A token whose signature is wrong, and whose claims are right."""
        head, claims, _ = self._parts
        signature = b"\0" + self._drawn.randbytes(255)  # below the modulus
        return f"Bearer {head}.{claims}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextmanager
def serving(place: Path, credentials: Credentials, pin: bool) -> Iterator[tuple[Group, int, int]]:
    """Both tiers, and the gateway's ports."""
    (place / "models").mkdir()
    fill(place / "models", {"waits": WAITS})
    pod, port, grpc_port = free_port(), free_port(), free_port()
    front = {"PORT": str(port), "HUB_GRPC_PORT": str(grpc_port), "GRPC_SERVER_URL": f"127.0.0.1:{pod}"}
    group = Group(
        [
            tier("inference", {"PORT": str(pod), "HUB_MODELS": str(place / "models")}),
            tier("gateway", {**front, **credentials.files(place)}),
        ],
        ROOT, place / "log", pin,
    )  # fmt: skip
    try:
        yield group, port, grpc_port
    finally:
        group.stop()


async def one_round(group: Group, port: int, request: bytes) -> Round:
    """Let the good callers ask.

    Raises:
        SystemExit: if one of them was refused.
    """
    used = group.cpu_seconds()
    answers = await OpenLoop("127.0.0.1", port, [request], GOOD_RATE).run(SECONDS, PATIENCE_S)
    cores = (group.cpu_seconds() - used) / SECONDS
    wrong = {answer.status for answer in answers} - {200}
    if wrong or len(answers) != GOOD_RATE * SECONDS:
        raise SystemExit(f"{len(answers)} answers to good callers, among them {wrong}")
    took = sorted((answer.took - answer.lag) * 1000 for answer in answers)
    return Round(took[len(took) // 2], took[len(took) * 99 // 100], cores)


async def ready(port: int, request: bytes) -> None:
    """Ask until all is loaded."""
    for _ in range(60):
        answers = await OpenLoop("127.0.0.1", port, [request], 20.0).run(1.0, PATIENCE_S)
        if {answer.status for answer in answers} == {200}:
            return
    raise SystemExit("the tiers do not answer")


REFUSED = {"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"}


def main() -> None:
    """Print a table for each model."""
    pin = can_pin()
    if pin:
        pin_self(LOAD)
    credentials = Credentials()
    kinds: dict[str, tuple[Callable[[], Sent], set[str]] | None] = {
        "alone": None,
        "bad": (credentials.bad, REFUSED),
        "forged": (credentials.all_forged, REFUSED),
        "good": (credentials.good, {"200", "OK"}),
    }
    with tempfile.TemporaryDirectory(prefix="hub-bad-") as folder, serving(Path(folder), credentials, pin) as (
        group, port, grpc_port,
    ):  # fmt: skip
        for model in MODELS:
            request = predict(model, credentials.bearer)
            asyncio.run(ready(port, request))
            seen: dict[str, list[Round]] = {kind: [] for kind in kinds}
            for number in range(ROUNDS):
                for kind in Random(number).sample(list(kinds), len(kinds)):
                    chosen = kinds[kind]
                    beside = None if chosen is None else Beside(port, grpc_port, chosen[0]())
                    seen[kind].append(asyncio.run(one_round(group, port, request)))
                    if chosen is not None and beside is not None:
                        statuses = beside.statuses()
                        if not statuses.keys() <= chosen[1]:
                            raise SystemExit(f"{kind}: {statuses}")
                sys.stderr.write(f"{model}: round {number + 1} of {ROUNDS}\n")
            show(model, seen)


def show(model: str, seen: dict[str, list[Round]]) -> None:
    """Print the medians of a model."""
    sys.stdout.write(
        f"model '{model}', {GOOD_RATE:.0f} good calls a second, {RATE:.0f} others a second beside them:\n"
    )
    alone = seen["alone"]
    for kind, rounds in seen.items():
        ratio = median(one.p99 / by.p99 for one, by in zip(rounds, alone, strict=True))
        more = median(one.cores - by.cores for one, by in zip(rounds, alone, strict=True))
        p50, p99 = median(one.p50 for one in rounds), median(one.p99 for one in rounds)
        sys.stdout.write(
            f"  {kind:7} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms, {ratio:5.2f} of alone   {more:6.1%} of a core more\n"
        )


if __name__ == "__main__":
    main()
