"""tritonclient's streams: one answer for each request, and several from a decoupled model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from conformance.clients.plan import Case, Plan
from conformance.clients.report import Answer, Report, WrongAnswerError
from conformance.clients.triton_infer import WAIT_S, by_case, inputs_of, read


async def streams(report: Report, client: Any, module: Any, plan: Plan, aio: bool) -> None:
    """Streams of both kinds, and an error within one."""
    ask = over_iterator if aio else over_callback
    cases = plan.of("datatype")
    (several,) = plan.of("decoupled")
    await report.call("stream", "one answer each", one_each, ask, client, module, cases)
    await report.call("stream", "an error in between", error_between, ask, client, module, cases)
    await report.call("stream, decoupled", "several answers", many, ask, client, module, several, aio)
    await report.error(
        "decoupled, one answer asked", client.infer, several.model, inputs_of(module.__name__, several, {})
    )


async def one_each(ask: Any, client: Any, module: Any, cases: list[Case]) -> Answer:
    """Every datatype over one stream, in order."""
    requests = [request(module, case, f"id {number}") for number, case in enumerate(cases)]
    found = await ask(client, requests, len(cases))
    if errors := [error for _, error in found if error]:
        raise errors[0]
    return by_case(zip(cases, [result for result, _ in found], strict=True))


async def error_between(ask: Any, client: Any, module: Any, cases: list[Case]) -> Answer:
    """A request that fails costs neither its stream nor its neighbours; no order is asked of an error."""
    wrong = {**request(module, cases[1], "wrong"), "model_name": "none"}
    requests = [request(module, cases[0], "first"), wrong, request(module, cases[2], "last")]
    found = await ask(client, requests, 3)
    if len(errors := [error for _, error in found if error]) != 1:
        raise WrongAnswerError(f"{len(errors)} errors, expected 1")
    answers = [result for result, error in found if not error]
    return by_case(zip((cases[0], cases[2]), answers, strict=True))


async def many(ask: Any, client: Any, module: Any, case: Case, aio: bool) -> Answer:
    """All answers of a decoupled model; a last, empty one has the final flag, which the asynchronous client can't ask."""
    asked, flags = request(module, case, "several"), [False] * len(case.answers)
    if not aio:
        asked["enable_empty_final_response"] = True
        flags.append(True)
    found = await ask(client, [asked], len(flags))
    if errors := [error for _, error in found if error]:
        raise errors[0]
    results = [result for result, _ in found]
    given = [result.get_response().parameters["triton_final_response"].bool_param for result in results]
    if given != flags:
        raise WrongAnswerError(f"final flags are {given}, expected {flags}")
    return read(case, results[: len(case.answers)])


def request(module: Any, case: Case, id: str) -> dict[str, Any]:
    """The arguments of a request on a stream."""
    inputs = inputs_of(module.__name__, case, {})
    return {"model_name": case.model, "inputs": inputs, "model_version": case.version, "request_id": id}


Found = list[tuple[Any, Any]]  # result and error


async def over_iterator(client: Any, requests: list[dict[str, Any]], count: int) -> Found:
    """So many answers to these requests, by the asynchronous client."""
    enough = asyncio.Event()

    async def sent() -> AsyncIterator[dict[str, Any]]:
        for one in requests:
            yield one
        await enough.wait()

    found: Found = []
    async with asyncio.timeout(WAIT_S):
        async for result, error in client.stream_infer(sent()):
            found.append((result, error))
            if len(found) == count:
                enough.set()
    return found


async def over_callback(client: Any, requests: list[dict[str, Any]], count: int) -> Found:
    """The same by the client's threads."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
    client.start_stream(lambda result, error: loop.call_soon_threadsafe(queue.put_nowait, (result, error)))
    try:
        for one in requests:
            client.async_stream_infer(**one)
        async with asyncio.timeout(WAIT_S):
            return [await queue.get() for _ in range(count)]
    finally:
        client.stop_stream()
