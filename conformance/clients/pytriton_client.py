"""The clients of nvidia-pytriton: synchronous, with futures, asynchronous, and those for decoupled models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TextIO

from pytriton.client import (
    AsyncioDecoupledModelClient,
    AsyncioModelClient,
    DecoupledModelClient,
    FuturesModelClient,
    ModelClient,
)
from pytriton.client.exceptions import PyTritonClientError

from conformance.clients.plan import Case, Plan
from conformance.clients.report import Answer, CannotAskError, Report, Target, checked, run

READY_S = 60.0
AT_ONCE = 4


def refusal(error: BaseException) -> str | None:
    """These clients hide the status of an answer; the name of their exception stands for it."""
    return type(error).__name__ if isinstance(error, PyTritonClientError) else None


async def calls(target: Target, plan: Plan, out: TextIO) -> None:
    """All clients over both transports; streams are gRPC's."""
    for transport, address in (("HTTP", target.http), ("gRPC", target.grpc)):
        if not address:
            continue
        url = f"{'http' if transport == 'HTTP' else 'grpc'}://{address}"
        report = Report("pytriton", transport, target.tier, out, refusal)
        for case in plan.of("datatype"):
            await report.call("configuration", case.about, configuration, url, case)
            await report.call("infer", case.about, infer, url, case)
        case = plan.of("rows")[0]
        await report.call("infer", "one row", one_row, url, case)
        if transport == "HTTP":  # the only one that works against Triton as well
            await report.call("infer with futures", "rows", futures, url, case)
        await report.call("infer with asyncio", "rows", with_asyncio, url, case)
        await report.error("unknown input", mistaken, url, case)
        if transport == "gRPC":
            (several,) = plan.of("decoupled")
            await report.call("stream, decoupled", "plain", decoupled, url, several)
            await report.call("stream, decoupled", "asyncio", decoupled_with_asyncio, url, several)


def arguments(case: Case) -> dict[str, Any]:
    """The inputs of a case by name.

    Raises:
        CannotAskError: for a datatype that these clients do not have.
    """
    if "BF16" in case.datatypes:
        raise CannotAskError("pytriton has no BF16")
    return {tensor.name: tensor.array for tensor in case.inputs}


def configuration(url: str, case: Case) -> Answer:
    """What the client reads from the model's configuration."""
    arguments(case)
    with ModelClient(url, case.model, case.version, init_timeout_s=READY_S) as client:
        config = client.model_config
        return {
            "name": config.model_name,
            "batching": config.batching,
            "rows": config.max_batch_size,
            "inputs": [(spec.name, str(spec.dtype), list(spec.shape)) for spec in config.inputs],
            "outputs": [(spec.name, str(spec.dtype), list(spec.shape)) for spec in config.outputs],
            "decoupled": config.decoupled,
        }


def infer(url: str, case: Case) -> None:
    """One request, of rows where the model has them."""
    with ModelClient(url, case.model, case.version, init_timeout_s=READY_S) as client:
        ask = client.infer_batch if case.batched else client.infer_sample
        checked(case, [ask(**arguments(case))])


def one_row(url: str, case: Case) -> None:
    """The first row alone, to which the client adds the dimension of rows, and takes it off the answer."""
    with ModelClient(url, case.model, init_timeout_s=READY_S) as client:
        found = client.infer_sample(**{name: array[0] for name, array in arguments(case).items()})
    checked(first_row(case), [{name: array[None] for name, array in found.items()}])


def first_row(case: Case) -> Case:
    """A case with the first row alone."""
    outputs = [type(tensor)(tensor.name, tensor.datatype, tensor.array[:1]) for tensor in case.answers[0]]
    return Case(**{**vars(case), "answers": [outputs]})


def futures(url: str, case: Case) -> None:
    """Several requests at once, in threads."""
    with FuturesModelClient(url, case.model, max_workers=AT_ONCE) as client:
        waiting = [client.infer_batch(**arguments(case)) for _ in range(AT_ONCE)]
        for future in waiting:
            checked(case, [future.result(timeout=READY_S)])


async def with_asyncio(url: str, case: Case) -> None:
    """Several requests at once, in coroutines."""
    async with AsyncioModelClient(url, case.model, init_timeout_s=READY_S) as client:
        for found in await asyncio.gather(*[client.infer_batch(**arguments(case)) for _ in range(AT_ONCE)]):
            checked(case, [found])


def mistaken(url: str, case: Case) -> None:
    """An input that the model does not have."""
    with ModelClient(url, case.model, init_timeout_s=READY_S) as client:
        client.infer_batch(**{**arguments(case), "none": case.inputs[0].array})


def decoupled(url: str, case: Case) -> None:
    """Several answers of one request."""
    with DecoupledModelClient(url, case.model, init_timeout_s=READY_S) as client:
        answers: Sequence[Any] = list(client.infer_sample(**arguments(case)))
    checked(case, answers)


async def decoupled_with_asyncio(url: str, case: Case) -> None:
    """The same in a coroutine."""
    async with AsyncioDecoupledModelClient(url, case.model, init_timeout_s=READY_S) as client:
        answers = [answer async for answer in client.infer_sample(**arguments(case))]
    checked(case, answers)


if __name__ == "__main__":
    run(calls)
