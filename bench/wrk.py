"""The same load by wrk, which is written in C: how near our own clients come to it."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile

from bench.client import Sample
from bench.stack import Stack


async def wrk(stack: Stack, sample: Sample, clients: int, seconds: float) -> float | None:
    """Requests a second that wrk sees with one thread; None where it is not installed or an answer was no 200."""
    program = shutil.which("wrk")
    if program is None:
        return None
    body = sample.request.partition(b"\r\n\r\n")[2].decode()
    script = (
        f'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\nwrk.body = [==[{body}]==]\n'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        options = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", lua.name]
        process = await asyncio.create_subprocess_exec(
            program, *options, f"http://{stack.host}:{stack.port}/predict", stdout=asyncio.subprocess.PIPE
        )
        text = (await process.communicate())[0].decode()
    found = re.search(r"Requests/sec:\s*([\d.]+)", text)
    return float(found[1]) if found and "Non-2xx" not in text else None
