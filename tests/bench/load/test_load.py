"""The generators tell the truth: a stall shows, a wrong answer shows, and what a program prints is read as it is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from bench.load import h2load
from bench.load.checker import Checker, asking
from bench.load.client import http
from bench.load.open_loop import LOST, Answer, OpenLoop
from bench.load.questions import MODELS, Question, picture_bytes, predict, v2_binary
from bench.parts.overload import by_second, summary

Handler = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def server(answer: Handler) -> AsyncIterator[int]:
    """Answers each request with a body, or hangs up on an empty one; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                body = await answer()
                if not body:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def test_an_open_loop_goes_on_while_the_server_stalls_and_counts_the_wait() -> None:
    stalled = asyncio.Event()

    async def answer() -> bytes:
        await stalled.wait()
        return b"{}"

    async with server(answer) as port:
        asyncio.get_running_loop().call_later(0.5, stalled.set)
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=100).run(0.6, 5.0)
    assert len(answers) == 60
    early = [answer for answer in answers if answer.planned < 0.295]
    assert len(early) == 30
    assert all(abs(answer.planned + answer.took - 0.5) < 0.25 for answer in early)


async def test_an_open_loop_notes_each_request_whose_connection_goes_away() -> None:
    async def answer() -> bytes:
        return b""

    async with server(answer) as port:
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=200).run(0.1, 5.0)
    assert [answer.status for answer in answers] == [LOST] * 20


def test_overload_counts_only_what_came_in_time() -> None:
    answers = [
        Answer(0.1, 0.0, 0.2, 200),
        Answer(0.2, 0.0, 1.2, 200),
        Answer(0.5, 0.0, 0.9, 200),
        Answer(1.1, 0.0, 0.003, 429),
        Answer(1.2, 0.0, 1.0, 504),
        Answer(1.5, 0.0, 0.9, 200),  # in time, and after the end
    ]
    seen = summary(answers, 2.0)
    assert (seen["goodput"], seen["refused"], seen["expired"]) == (1.0, 0.5, 0.5)
    assert seen["refused_p99_ms"] == pytest.approx(3.0)
    assert by_second(answers, 2.0)["good"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("by_window", "to_steady", "to_second"),
    [((12, 8, 8, 8, 8, 8), 1.0, 1.0), ((9, 8, 8, 8, 8, 4), 0.5, 0.5), ((9, 10, 8, 8, 6, 4), 0.5, 0.4)],
)
def test_a_collapse_at_the_end_shows_and_a_good_beginning_does_not(
    by_window: Sequence[int], to_steady: float, to_second: float
) -> None:
    answers = [
        Answer(10.0 * window + at, 0.0, 0.1, 200)
        for window, count in enumerate(by_window)
        for at in (index / 2 for index in range(count))
    ]
    seen = summary(answers, 60.0)
    assert seen["goodput"] == pytest.approx(sum(by_window) / 60)
    assert (seen["last_to_steady"], seen["last_to_second"]) == pytest.approx((to_steady, to_second))


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


@pytest.mark.parametrize("model", MODELS)
def test_a_question_knows_its_answer(model: str) -> None:
    case = MODELS[model].cases()[0]
    right = list(case.numbers) or [float(index == case.best) for index in range(MODELS[model].width)]
    assert case.holds(right)
    assert not case.holds(right[::-1])
    assert not case.holds([])


def test_bytes_are_asked_with_the_whole_tensor_once() -> None:
    size = 3 * 224 * 224 * 4
    assert len(picture_bytes("image")[0].body) == size
    question = v2_binary("image")[0]
    head = int(question.headers["Inference-Header-Content-Length"])
    assert len(question.body) == head + size
    assert json.loads(question.body[:head])["inputs"][0]["parameters"]["binary_data_size"] == size


def test_what_h2load_prints_is_read() -> None:
    text = "requests: 103 total, 103 started, 103 done, 100 succeeded, 2 failed, 1 errored, 0 timeout"
    seen = h2load.parsed([text], [1000, 2000, 3000], 2.0, cpu_s=0.5)
    assert (seen.rate, seen.p50_ms, seen.errors) == (50.0, 2.0, {"failed": 2, "errored": 1})
    assert seen.figures(requests=10)["cpu_us"] == 500.0
    both = h2load.parsed([text, text], [1000, 2000, 3000], 2.0)
    assert (both.rate, both.errors) == (100.0, {"failed": 4, "errored": 2})
    with pytest.raises(RuntimeError, match="refused"):
        h2load.parsed([text, "connection refused"], [1000], 2.0)
