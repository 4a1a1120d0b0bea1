"""tritonclient's inference: every case over binary, JSON, compressed, asynchronous, with chosen outputs."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from conformance.clients.plan import Case, Plan
from conformance.clients.report import Answer, CannotAskError, Report, checked, settled

WAIT_S = 60.0


def inputs_of(module: str, case: Case, wrong: Mapping[str, Any], binary: bool = True) -> list[Any]:
    """The inputs of a case as a flavour writes them; `wrong` has another name or datatype, or a rank, of the first.

    Raises:
        CannotAskError: where the client refuses to write such a tensor.
    """
    flavour = importlib.import_module(module)
    inputs = []
    for position, tensor in enumerate(case.inputs):
        array, mistake = tensor.array, wrong if position == 0 else {}
        if "rank" in mistake:
            array = np.zeros([1] * mistake["rank"], array.dtype)
        datatype = mistake.get("datatype", tensor.datatype)
        if datatype != tensor.datatype:
            array = array.astype(np.float64)
        if datatype == "BF16":
            array = array.astype(ml_dtypes.bfloat16)
        given = flavour.InferInput(mistake.get("name", tensor.name), list(array.shape), datatype)
        options = {"binary_data": binary} if "http" in module else {}
        try:
            given.set_data_from_numpy(array, **options)
        except Exception as error:
            raise CannotAskError(str(error)) from error
        inputs.append(given)
    return inputs


def outputs_of(module: Any, case: Case, binary: bool) -> list[Any]:
    """All outputs of a case by name."""
    options = {"binary_data": binary} if "http" in module.__name__ else {}
    return [module.InferRequestedOutput(tensor.name, **options) for tensor in case.answers[0]]


def read(case: Case, results: Sequence[Any]) -> Answer:
    """Compare what came with the case, and give the rest of the answers: name, version, id, and the tensors' heads."""
    checked(
        case,
        [{tensor.name: result.as_numpy(tensor.name) for tensor in case.answers[0]} for result in results],
    )
    return [head(result) for result in results]


def head(result: Any) -> Answer:
    """An answer without its values, its outputs by name: Triton gives them in another order than they were asked for."""
    found = result.get_response()
    if not isinstance(found, dict):
        found = result.get_response(as_json=True)
    outputs = [
        {
            "name": one["name"],
            "datatype": one["datatype"],
            "shape": [int(size) for size in one.get("shape", [])],
        }
        for one in sorted(found["outputs"], key=lambda one: one["name"])
    ]
    return {**{key: found.get(key) for key in ("model_name", "model_version", "id")}, "outputs": outputs}


async def inference(report: Report, client: Any, module: Any, plan: Plan, grpc: bool, aio: bool) -> None:
    """Every way to ask for one answer."""
    for case in [*plan.of("datatype"), *plan.of("mixed")]:
        await report.call("infer, binary", case.about, once, client, module, case)
        if not grpc and case.kind == "datatype":
            await report.call("infer, JSON", case.about, once, client, module, case, binary=False)
    mixed = plan.of("mixed")[0]
    for algorithm in ("gzip", "deflate"):
        options: dict[str, Any] = (
            {"compression_algorithm": algorithm}
            if grpc
            else {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        )
        await report.call("infer, compressed", algorithm, once, client, module, mixed, **options)
    ways: dict[str, dict[str, Any]] = {
        "an id": {"request_id": "an id"},
        "a timeout": {"timeout": 60_000_000},
        "a parameter": {"parameters": {"a": 1.5}},
        "a priority": {"priority": 1},
    }
    for about, options in ways.items():
        await report.call("infer, with parameters", about, once, client, module, mixed, **options)
    await report.call(
        "infer, with parameters", "no outputs named", once, client, module, mixed, outputs=False
    )
    if aio:
        await report.call("async_infer", "all at once", gathered, client, module, plan)
    else:
        await report.call("async_infer", "all at once", together, client, module, plan, grpc)


async def once(
    client: Any, module: Any, case: Case, binary: bool = True, outputs: bool = True, **options: Any
) -> Answer:
    """One request, compared with the case."""
    wanted = outputs_of(module, case, binary) if outputs else None
    inputs = inputs_of(module.__name__, case, {}, binary)
    asked = client.infer(case.model, inputs, case.version, outputs=wanted, **options)
    return read(case, [await settled(asked)])


async def together(client: Any, module: Any, plan: Plan, grpc: bool) -> Answer:
    """All cases of one datatype at once, by the client's threads."""
    loop = asyncio.get_running_loop()
    waiting = []
    for case in plan.of("datatype"):
        inputs = inputs_of(module.__name__, case, {})
        if not grpc:
            waiting.append((case, client.async_infer(case.model, inputs, case.version).get_result))
            continue
        future: asyncio.Future[Any] = loop.create_future()

        def came(result: Any, error: Any, future: asyncio.Future[Any] = future) -> None:
            give = future.set_result if error is None else future.set_exception
            loop.call_soon_threadsafe(give, result if error is None else error)

        client.async_infer(case.model, inputs, came, case.version)
        waiting.append((case, lambda future=future: future))
    async with asyncio.timeout(WAIT_S):
        found = [(case, await settled(result())) for case, result in waiting]
    return by_case(found)


async def gathered(client: Any, module: Any, plan: Plan) -> Answer:
    """The same with coroutines."""
    cases = plan.of("datatype")
    asked = [client.infer(case.model, inputs_of(module.__name__, case, {}), case.version) for case in cases]
    return by_case(zip(cases, await asyncio.gather(*asked), strict=True))


def by_case(found: Iterable[tuple[Case, Any]]) -> Answer:
    """The answers to several cases, each compared, by what they try."""
    return {case.about: read(case, [result]) for case, result in found}
