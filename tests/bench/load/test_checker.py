"""The checker sees a wrong answer while the load runs."""

from __future__ import annotations

import asyncio
import json
import threading

from bench.load.checker import Checker, asking
from bench.load.questions import Question, predict
from tests.bench.load.answering import server


async def test_the_checker_sees_wrong_answers() -> None:
    body = [json.dumps({"class_id": 0}).encode()]
    asked = threading.Event()

    async def answer() -> bytes:
        return body[0]

    def look(port: int, questions: list[Question]) -> Checker:
        with asking(port, questions) as ask, Checker(ask, 100) as checker:
            while checker.asked < 3:
                asked.wait(0.01)
        return checker

    first = predict("three")[:1]  # its class is 0
    async with server(answer) as port:
        assert not (await asyncio.to_thread(look, port, first)).wrong
        body[0] = json.dumps({"class_id": 1}).encode()
        assert (await asyncio.to_thread(look, port, first)).wrong
