"""What keys and TLS cost: `python -m bench.studies.security`; needs h2load and openssl.

Six pairs of tiers, all on one core, of which one runs at a time: in plain, with keys, with JWTs, with TLS for callers, with
TLS between the tiers, and with all of it but JWTs. Each round asks all of them, in another order, and ratios are those within a round.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median

from bench.load.h2load import Seen, run
from bench.load.questions import Question, predict, v2_binary
from bench.paths import ROOT
from bench.servers.processes import LOAD, SERVERS, Group, can_pin, free_port
from bench.servers.stack import fill, pin_self, tier
from inferencehub.core.auth.key_file import digest, new_key
from tests.authority import Authority, Secret
from tests.issuer import AUDIENCE, NAME, Issuer

KINDS = ("plain", "key", "jwt", "tls", "tiers", "all")
ROUNDS, SECONDS, CLIENTS = 5, 3.0, 64


def environ(kind: str, place: Path, key: str, issuer: Issuer) -> dict[str, dict[str, str]]:
    """The settings of both tiers."""
    front: dict[str, str] = {}
    back: dict[str, str] = {}
    if kind in ("key", "all"):
        (place / "keys.json").write_text(
            json.dumps({"keys": [{"id": "bench", "sha256": digest(key.encode()).hex()}]})
        )
        front["HUB_API_KEYS"] = str(place / "keys.json")
    if kind == "jwt":
        (place / "jwks.json").write_bytes(issuer.key_set("RS256"))
        front |= {
            "HUB_JWT_KEYS": str(place / "jwks.json"),
            "HUB_JWT_ISSUER": NAME,
            "HUB_JWT_AUDIENCE": AUDIENCE,
        }
    if kind in ("tls", "tiers", "all"):
        authority = Authority(place, "authority")
        for name, settings in (("gateway", front), ("inference", back)):
            secret = Secret(place / name)
            secret.hold(*authority.signed(name), authority)
            chosen = secret.settings if kind in ("tls", "all") and name == "gateway" else {}
            chosen |= secret.tier_settings if kind in ("tiers", "all") else {}
            settings |= {f"HUB_{field.upper()}": file for field, file in chosen.items()}
        if kind in ("tiers", "all"):
            back["HUB_HEALTH_PORT"] = str(free_port())
    return {"gateway": front, "inference": back}


class Pair:
    """Both tiers of one kind."""

    def __init__(self, kind: str, place: Path, pin: bool) -> None:
        self.kind = kind
        issuer = Issuer()
        self.key = new_key("bench")
        self.credential = issuer.token(exp=2**40) if kind == "jwt" else self.key
        place.mkdir()
        models = place / "models"
        models.mkdir()
        fill(models, {})
        settings = environ(kind, place, self.key, issuer)
        pod, self.port = free_port(), free_port()
        self.group = Group(
            [
                tier("inference", {"PORT": str(pod), "HUB_MODELS": str(models), **settings["inference"]}),
                tier(
                    "gateway",
                    {"PORT": str(self.port), "GRPC_SERVER_URL": f"127.0.0.1:{pod}", **settings["gateway"]},
                ),
            ],
            ROOT, place / "log", pin,
        )  # fmt: skip

    def ask(self, question: Question) -> Seen:
        """The rate and the CPU time of a question.

        Raises:
            SystemExit: if not all was answered well.
        """
        scheme = "https" if self.kind in ("tls", "all") else "http"
        headers: Mapping[str, str] = question.headers
        if self.kind in ("key", "jwt", "all"):
            headers = {**headers, "authorization": f"Bearer {self.credential}"}
        url = f"{scheme}://127.0.0.1:{self.port}{question.path}"
        seen = run([url], headers, question.body, ["--h1", f"-c{CLIENTS}"], SECONDS, self.group.cpu_seconds)
        if seen.errors or not seen.answers:
            raise SystemExit(
                f"{self.kind}: {seen.errors}, {seen.answers} answers: {self.group.log.read_text()[-500:]}"
            )
        return seen


@contextmanager
def running(folder: Path, pin: bool) -> Iterator[dict[str, Pair]]:
    """All pairs, paused."""
    pairs: dict[str, Pair] = {}
    with ExitStack() as stack:
        for kind in KINDS:
            pairs[kind] = pair = Pair(kind, folder / kind, pin)
            stack.callback(pair.group.stop)
            warm(pair)
            pair.group.pause()
        yield pairs


def warm(pair: Pair) -> None:
    """Ask until there is an answer: then all is loaded."""
    for _ in range(30):
        try:
            pair.ask(replace(predict("three")[0]))
        except (SystemExit, RuntimeError):
            continue
        return
    raise SystemExit(f"{pair.kind} does not answer: {pair.group.log.read_text()[-500:]}")


def main() -> None:
    """Print a table for each job."""
    pin = can_pin()
    if pin:
        pin_self(LOAD)
    jobs = {"3 floats": predict("three")[0], "600 KB of bytes": v2_binary("image")[0]}
    with tempfile.TemporaryDirectory(prefix="hub-security-") as folder, running(Path(folder), pin) as pairs:
        for job, question in jobs.items():
            seen: dict[str, list[Seen]] = {kind: [] for kind in KINDS}
            for number in range(ROUNDS):
                for kind in Random(number).sample(KINDS, len(KINDS)):
                    pairs[kind].group.resume()
                    seen[kind].append(pairs[kind].ask(question))
                    pairs[kind].group.pause()
                sys.stderr.write(f"{job}: round {number + 1} of {ROUNDS}\n")
            sys.stdout.write(f"{job}, {CLIENTS} clients, both tiers on core {SERVERS}:\n")
            for kind in KINDS:
                ratio = median(
                    one.rate / plain.rate for one, plain in zip(seen[kind], seen["plain"], strict=True)
                )
                cpu = median(one.figures()["cpu_us"] for one in seen[kind])
                rate = median(one.rate for one in seen[kind])
                sys.stdout.write(f"  {kind:6} {rate:8,.0f}/s  {ratio:5.2f} of plain  {cpu:7.0f} us of CPU\n")


if __name__ == "__main__":
    main()
