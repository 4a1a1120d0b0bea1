"""The lower bound: uvicorn alone, which reads a body and sends an answer of the usual size. `echo.py PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

ANSWER = b'{"class_id":1,"confidence":0.85}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same answer to everything."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off",
        log_level="warning", access_log=False,
    )  # fmt: skip
