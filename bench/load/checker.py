"""Sends a few requests each second while the load runs, and checks every answer.

The requests differ. So the check finds answers that went to the wrong caller, were cut off or were mixed up.
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from bench.load.questions import Question

PATIENCE_S = 30.0


def ask(connection: http.client.HTTPConnection, question: Question) -> str:
    """What is wrong with the answer; "" if it is right."""
    try:
        connection.request("POST", question.path, question.body, dict(question.headers))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return type(error).__name__
    if answer.status != 200:
        return f"status {answer.status}: {body[:120].decode(errors='replace')}"
    try:
        right = question.right(body, answer.headers)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return f"{type(error).__name__} in {body[:80]!r}"
    return "" if right else f"wrong answer {body[:80]!r}"


@contextmanager
def asking(port: int, questions: Sequence[Question]) -> Iterator[Callable[[], str]]:
    """What asks the next question over a kept connection and tells what is wrong with the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    turns = cycle(questions)
    try:
        yield lambda: ask(connection, next(turns))
    finally:
        connection.close()


class Checker:
    """`with Checker(ask, 20) as checker`: asks until the block ends; then `asked` and `wrong` tell."""

    def __init__(self, ask: Callable[[], str], times_a_second: float) -> None:
        self.ask = ask
        self.pause = 1 / times_a_second
        self.asked = 0
        self.wrong: Counter[str] = Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="checker")

    def run(self) -> None:
        """Ask, wait, ask again."""
        while not self.over.wait(self.pause):
            wrong = self.ask()
            self.asked += 1
            if wrong:
                self.wrong[wrong] += 1

    def __enter__(self) -> Checker:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
