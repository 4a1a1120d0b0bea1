"""What keys and TLS cost: `python -m bench.parts.security`; needs h2load and openssl.

Pairs of tiers, all on one core, of which one runs at a time: in plain, with keys, with JWTs, with TLS for callers, with TLS
between the tiers, and with all of it but JWTs. 64 clients ask over connections that stay open. Each round asks all of them,
in another order, and ratios are those within a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

from bench.load.h2load import Seen, run
from bench.load.questions import Question, predict, v2_binary
from bench.paths import ROOT
from bench.report.results import Results, Run
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import fill, pin_self, tier
from inferencehub.core.auth.key_file import digest, new_key
from tests.authority import Authority, Secret
from tests.issuer import AUDIENCE, NAME, Issuer

KINDS = ("plain", "key", "jwt", "tls", "tiers", "all")
JOBS = {"security-three": predict("three")[0], "security-bytes": v2_binary("image")[0]}
CLIENTS = 64
TRIES = 30


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

    def ask(self, question: Question, seconds: float) -> Seen:
        """The rate and the CPU time of a question."""
        scheme = "https" if self.kind in ("tls", "all") else "http"
        headers: Mapping[str, str] = question.headers
        if self.kind in ("key", "jwt", "all"):
            headers = {**headers, "authorization": f"Bearer {self.credential}"}
        url = f"{scheme}://127.0.0.1:{self.port}{question.path}"
        return run([url], headers, question.body, ["--h1", f"-c{CLIENTS}"], seconds, self.group.cpu_seconds)

    def until_ready(self) -> None:
        """Ask until there are answers and no errors: then all is loaded.

        Raises:
            RuntimeError: if there are none; the text is the end of the tiers' log.
        """
        for _ in range(TRIES):
            with suppress(RuntimeError):
                seen = self.ask(predict("three")[0], 1.0)
                if seen.answers and not seen.errors:
                    return
        raise RuntimeError(f"{self.kind} does not answer: {self.group.log.read_text()[-500:]}")


@contextmanager
def running(folder: Path, pin: bool) -> Iterator[dict[str, Pair]]:
    """All pairs, paused."""
    pairs: dict[str, Pair] = {}
    with ExitStack() as stack:
        for kind in KINDS:
            pairs[kind] = pair = Pair(kind, folder / kind, pin)
            stack.callback(pair.group.stop)
            pair.until_ready()
            pair.group.pause()
        yield pairs


def one_round(pairs: Mapping[str, Pair], job: str, question: Question, seed: int, seconds: float) -> Run:
    """Each kind once; its rate and CPU time, and both to those in plain (1.0 is as good)."""
    figures: dict[str, float] = {}
    errors: dict[str, int] = {}
    for kind in Random(seed).sample(KINDS, len(KINDS)):
        pair = pairs[kind]
        pair.group.resume()
        seen = pair.ask(question, seconds)
        pair.group.pause()
        errors |= {f"{kind}: {name}": count for name, count in seen.errors.items()}
        measured = seen.figures()
        figures |= {f"{kind}_{name}": measured[name] for name in ("rate", "cpu_us", "p99_ms")}
    for kind in KINDS[1:]:
        figures[f"{kind}_to_plain"] = figures[f"{kind}_rate"] / figures["plain_rate"]
        figures[f"{kind}_to_plain_by_cpu"] = figures["plain_cpu_us"] / figures[f"{kind}_cpu_us"]
    return Run(job, "ours", figures, errors)


def security(results: Results, rounds: int, seconds: float, pin: bool) -> None:
    """All rounds of both jobs, into `results`."""
    with tempfile.TemporaryDirectory(prefix="hub-security-") as folder, running(Path(folder), pin) as pairs:
        for job, question in JOBS.items():
            for number in range(rounds):
                results.runs.append(one_round(pairs, job, question, number, seconds))


def main() -> int:
    """Exit code 1 where an answer was an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.security", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run (%(default)s)")
    options = parser.parse_args()
    pin = can_pin()
    if pin:
        pin_self(LOAD)
    results = Results()
    security(results, options.rounds, options.seconds, pin)
    for job in JOBS:
        print(f"{job}, {CLIENTS} clients:")
        for kind in KINDS:
            rate, cpu = (results.median(job, "ours", f"{kind}_{name}") or 0.0 for name in ("rate", "cpu_us"))
            ratio = results.median(job, "ours", f"{kind}_to_plain") or 1.0
            print(f"  {kind:6} {rate:8,.0f}/s  {ratio:5.2f} of plain  {cpu:7.0f} us of CPU")
    failed = [run.errors for run in results.failed()]
    print(f"errors {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
