"""Models that give several answers: `python -m bench.studies.streaming`.

How many answers a second 64 streams of events get from both tiers on one core, and how much later the first answer comes
than the model made it. The model's processes and the clients have the other core: they are not what is measured.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.parts.rest import started
from bench.servers.proc import cpu_seconds, family
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import tier

STREAMS, ANSWERS, INSTANCES, FIRSTS, ROUNDS = 64, 2_000, 8, 300, 3
CONFIG = f"""backend: "python"
model_transaction_policy {{ decoupled: true }}
instance_group {{ count: {INSTANCES} }}
input {{ name: "count" data_type: TYPE_INT32 dims: [1] }}
output {{ name: "text_output" data_type: TYPE_STRING dims: [1] }}
"""
MODEL = """import time
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.word = np.array([b"word"], dtype=object)

    def predict(self, inputs):
        count = int(inputs["count"][0])
        if count == 1:  # the time at which it was made
            yield {"text_output": np.array([str(time.monotonic()).encode()], dtype=object)}
        else:
            for _ in range(count):
                yield {"text_output": self.word}
"""


async def stream(port: int, count: int) -> tuple[bytes, float]:
    """A stream's text, and when its first answer came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    body = b'{"count":%d}' % count
    head = b"POST /v2/models/streaming/generate_stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-timeout-ms: 300000\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    text = await reader.readuntil(b"data: ")
    came = time.monotonic()
    while piece := await reader.read(2**20):
        text += piece
    writer.close()
    return text, came


async def many(port: int) -> float:
    """Answers a second of all streams together.

    Raises:
        SystemExit: if one is missing.
    """
    began = time.monotonic()
    texts = await asyncio.gather(*[stream(port, ANSWERS) for _ in range(STREAMS)])
    took = time.monotonic() - began
    came = sum(text.count(b'"text_output":"word"') for text, _ in texts)
    if came != STREAMS * ANSWERS:
        raise SystemExit(f"{came} answers came, expected {STREAMS * ANSWERS}: {texts[0][0][-300:]!r}")
    return came / took


async def firsts(port: int) -> list[float]:
    """How many ms later than it was made the first answer of a stream came, for one stream after the other."""
    late = []
    for _ in range(FIRSTS):
        text, came = await stream(port, 1)
        made = re.search(rb'"text_output":"([\d.]+)"', text)
        assert made is not None, text
        late.append(1e3 * (came - float(made[1])))
    return late


def main() -> None:
    """Print a line for each round."""
    with tempfile.TemporaryDirectory(prefix="hub-streaming-") as folder, ExitStack() as stack:
        place, port, pin = Path(folder), free_port(), can_pin()
        version = place / "models" / "streaming" / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL)
        (version.parent / "config.pbtxt").write_text(CONFIG)
        pod = tier("inference", {"PORT": str(port), "HUB_MODELS": str(place / "models")})
        gateway = tier("gateway", {"PORT": str(free_port()), "GRPC_SERVER_URL": f"127.0.0.1:{port}"})
        groups: list[Group] = []
        for command in (pod, gateway):
            _, group = stack.enter_context(started(command, place, pin))
            groups.append(group)
        first = groups[0].children[0].pid
        models = sorted(family({first}) - {first})
        if pin:
            for pid in models:
                os.sched_setaffinity(pid, {LOAD})
            os.sched_setaffinity(0, {LOAD})
        watched = {"pod": [first], "gateway": groups[1].members(), "models": models}
        http = int(gateway.environ["PORT"])
        for _ in range(ROUNDS):
            before = {name: sum(map(cpu_seconds, pids)) for name, pids in watched.items()}
            rate = asyncio.run(many(http))
            cpu = {name: sum(map(cpu_seconds, pids)) - before[name] for name, pids in watched.items()}
            shares = ", ".join(
                f"{name} {1e6 * used / STREAMS / ANSWERS:.1f} us" for name, used in cpu.items()
            )
            late = asyncio.run(firsts(http))
            sys.stdout.write(
                f"{rate:,.0f} answers/s; CPU for each: {shares}; first answer {statistics.median(late):.2f} ms after it was made\n"
            )


if __name__ == "__main__":
    main()
