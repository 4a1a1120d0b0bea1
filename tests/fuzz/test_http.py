"""Ten thousand bodies that are almost right, over all POST routes, against two real processes.

No body may be answered with 500 or more, and no process may die. Good requests in between get their right answers, even
if they shared a batch with a bad one. The seed is fixed; `FUZZ_SEED` and `FUZZ_BODIES` set another seed and number.
"""

import asyncio
import gzip
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

from inferencehub.core.values.tensors import DTYPES
from tests.gateway.raw import Answer, Raw, request
from tests.hub import MODELS, Process, mock_model
from tests.long_runs import part_of

BODIES = int(os.environ.get("FUZZ_BODIES", part_of(10_000)))
CONNECTIONS = 16
GOOD_EVERY = 10
PIXELS = [float((7 * n) % 17) for n in range(64)]


def infer(name: str, shape: list[int], datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    """An inference request of one input."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}], **more}


# Good requests: what mutations begin with, and what is asked in between.
GOOD: list[tuple[str, Any]] = [
    ("/predict", {"features": [0.5, 1.2, -3.4]}),
    ("/predict", {"features": PIXELS, "model_name": "digits"}),
    ("/predict", {"text": "not bad at all, I love it 😀"}),
    (
        "/v2/models/quick/infer",
        infer("features", [3], "FP32", [1, 2.5, -3], id="a", parameters={"x": 1, "y": "z"}),
    ),
    (
        "/v2/models/quick/versions/1/infer",
        infer("features", [2], "FP32", [1, 2], outputs=[{"name": "class_id"}]),
    ),
    ("/v2/models/digits/infer", infer("input", [1, 64], "FP32", [PIXELS])),
    ("/v2/models/digits/infer", infer("input", [2, 64], "FP32", PIXELS * 2)),
    ("/v2/models/sentiment/infer", infer("text", [2, 1], "BYTES", ["awful", "what a lovely day"])),
    ("/v2/models/sentiment/versions/1/infer", infer("text", [1, 1], "BYTES", [["so-so"]])),
]
NUMBERS = [0, -1, 1, 65, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 1e39, -1e39, 1e308, 5e-324, 0.1, -0.0,
           float("nan"), float("inf"), float("-inf")]  # fmt: skip
WHOLE = [0, -1, 255, 256, -(2**31), 2**31, 2**64 - 1, 2**64]
TEXTS = [
    "",
    "FP32",
    "INT64",
    "BYTES",
    "BOOL",
    "BF16",
    "\x00",
    "é漢😀",
    "x" * 300,
    "digits",
    "absent",
    "../..",
    "NaN",
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [[[1]]], [None], {"a": {"b": 1}}, ["a", 1, None, True]]
KEYS = ["features", "text", "model_name", "inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data",
        "hub_members", "sequence_id", "x"]  # fmt: skip
TOKENS = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e400",
          b"null", b"true", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"0" * 50, b"9" * 500, b"[" * 2000]  # fmt: skip


class Fuzz:
    """Requests out of a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def any_value(self) -> Any:
        """A value that does not belong there."""
        kinds: list[list[Any]] = [NUMBERS, TEXTS, OTHERS]
        return self.random.choice(self.random.choice(kinds))

    def bend(self, value: Any) -> Any:
        """`value` with one thing changed, anywhere inside it."""
        pick = self.random
        if isinstance(value, dict) and value and pick.random() < 0.8:
            bent, key = dict(value), pick.choice(list(value))
            match pick.randrange(5):
                case 0:
                    del bent[key]
                case 1:
                    bent[pick.choice(KEYS)] = bent.pop(key)
                case 2:
                    bent[pick.choice(KEYS)] = self.any_value()
                case _:
                    bent[key] = self.bend(value[key])
            return bent
        if isinstance(value, list) and value and pick.random() < 0.8:
            bent_list, at = list(value), pick.randrange(len(value))
            match pick.randrange(6):
                case 0:
                    del bent_list[at]
                case 1:
                    bent_list.insert(at, self.any_value())
                case 2:
                    bent_list *= pick.choice([0, 2, 70])
                case 3:
                    return [bent_list]
                case _:
                    bent_list[at] = self.bend(value[at])
            return bent_list
        return self.any_value()

    def spoil(self, body: bytes) -> bytes:
        """`body` with some of its bytes changed."""
        pick, spoilt = self.random, bytearray(body)
        for _ in range(pick.choice([1, 1, 1, 3, 20])):
            at = pick.randrange(len(spoilt) + 1)
            match pick.randrange(5):
                case 0 if at < len(spoilt):
                    spoilt[at] ^= 1 << pick.randrange(8)
                case 1:
                    del spoilt[at:]
                case 2:
                    del spoilt[at : at + pick.randrange(1, 9)]
                case 3:
                    spoilt[at:at] = pick.randbytes(pick.randrange(1, 9))
                case _:
                    spoilt[at:at] = pick.choice(TOKENS)
        return bytes(spoilt)

    def request(self) -> bytes:
        """One request that is probably bad."""
        pick = self.random
        path, body = pick.choice(GOOD)
        if pick.random() < 0.1:
            path = pick.choice(GOOD)[0]
        if "inputs" in body and pick.random() < 0.1:
            given = body["inputs"][0]
            data = given["data"] if pick.random() < 0.5 else pick.choices(WHOLE, k=len(given["data"]))
            body = {**body, "inputs": [{**given, "datatype": pick.choice(list(DTYPES)), "data": data}]}
        for _ in range(pick.choice([0, 1, 1, 1, 2, 5])):
            body = self.bend(body)
        encoded = json.dumps(body, ensure_ascii=pick.random() < 0.5).encode(
            pick.choice(["utf-8"] * 9 + ["utf-16"])
        )
        if pick.random() < 0.4:
            encoded = self.spoil(encoded)
        headers = []
        if pick.random() < 0.1:
            headers.append("content-encoding: " + pick.choice(["gzip", "gzip", "deflate", "br", "identity"]))
            if pick.random() < 0.7:
                encoded = gzip.compress(encoded, 1)
                encoded = self.spoil(encoded) if pick.random() < 0.5 else encoded
        if pick.random() < 0.05:
            headers.append(
                "x-request-timeout-ms: " + pick.choice(["0", "-5", "abc", "1e9", "9" * 30, "60000"])
            )
        if pick.random() < 0.05:
            headers.append("x-request-id: " + pick.choice(["a,b;c", '"', "[1,2]", "x" * 200, "caf\xe9"]))
        return request("POST", path, encoded, *headers)


def near(found: Any, expected: Any) -> bool:
    """Equal, but for the last bits of floats: a batch's sums may differ from a single row's."""
    if isinstance(expected, float):
        return isinstance(found, (int, float)) and abs(found - expected) < 2e-6
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(near(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(near, found, expected))
    return bool(found == expected)


async def test_bodies_of_all_kinds(tmp_path: Path) -> None:
    mock_model(tmp_path, slots=8)
    for name in ("digits", "sentiment"):
        shutil.copytree(MODELS / name, tmp_path / name)
    quiet = {"HUB_LOG_LEVEL": "error"}
    began = monotonic()
    async with Process("inference", HUB_MODELS=str(tmp_path), **quiet) as pod:
        names = {"GRPC_SERVER_URL": pod.address, "HUB_DEFAULT_MODEL": "quick"}
        async with Process("gateway", **names, **quiet) as gateway:
            await bombard(gateway.port)
            for process in (pod, gateway):
                os.kill(process.pid, 0)
    print(f"{monotonic() - began:.1f} s")


async def bombard(port: int) -> None:
    """Send all bodies, over connections of their own, and hold each answer against what may come."""
    fuzz = Fuzz(int(os.environ.get("FUZZ_SEED", "1")))
    async with Raw(port) as first:
        expected = [(await first.ask("POST", path, json.dumps(body).encode())) for path, body in GOOD]
    assert [answer.status for answer in expected] == [200] * len(GOOD)
    statuses: Counter[int] = Counter()
    failed: list[tuple[bytes, Answer]] = []
    numbers = iter(range(BODIES))

    async def work() -> None:
        async with Raw(port) as raw:
            for number in numbers:
                sent = fuzz.request()
                await raw.send(sent)
                answer = await raw.read()
                statuses[answer.status] += 1
                if answer.status >= 500 or not right_shape(sent, answer):
                    failed.append((sent, answer))
                if number % GOOD_EVERY == 0:
                    await ask_good(raw, number // GOOD_EVERY % len(GOOD))

    async def ask_good(raw: Raw, index: int) -> None:
        path, body = GOOD[index]
        answer = await raw.ask("POST", path, json.dumps(body).encode())
        if answer.status != 200 or not near(answer.json, expected[index].json):
            failed.append((path.encode(), answer))

    await asyncio.gather(*[work() for _ in range(CONNECTIONS)])
    print(
        "\nanswers by status:",
        dict(sorted(statuses.items())),
        f"and {BODIES // GOOD_EVERY} good ones in between",
    )
    assert not failed, (len(failed), *failed[:5])
    assert statuses.total() == BODIES
    assert statuses[400] > BODIES // 2
    assert {200, 404} < statuses.keys()


def right_shape(sent: bytes, answer: Answer) -> bool:
    """Whether an answer is of its path's shape."""
    found, good = answer.json, answer.status == 200
    if sent.startswith(b"POST /predict "):
        return (found["class_id"] == -1) is (found["error"] != "") is not good
    return found.keys() == {"error"} if not good else "outputs" in found and "error" not in found
