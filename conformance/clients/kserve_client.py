"""KServe's clients: InferenceRESTClient with its protocols V1 and V2, and InferenceGRPCClient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import grpc
import httpx
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from conformance.clients.plan import Case, Plan
from conformance.clients.report import Answer, CannotAskError, Report, Target, WrongAnswerError, checked, run


def refusal(error: BaseException) -> str | None:
    """The status that a server refused with."""
    if isinstance(error, httpx.HTTPStatusError):
        return str(error.response.status_code)
    return error.code().name if isinstance(error, grpc.RpcError) else None


async def calls(target: Target, plan: Plan, out: TextIO) -> None:
    """All calls of the clients that reach a server."""
    if target.http:
        report = Report("kserve.InferenceRESTClient", "HTTP", target.tier, out, refusal)
        url = f"http://{target.http}"
        async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=60)) as client:
            await first_protocol(report, client, url, plan)
        async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
            await second_protocol(report, client, [url], plan)
    report = Report("kserve.InferenceGRPCClient", "gRPC", target.tier, out, refusal)
    async with InferenceGRPCClient(target.grpc) as client:
        await second_protocol(report, client, [], plan)


async def first_protocol(report: Report, client: Any, url: str, plan: Plan) -> None:
    """V1: instances in, predictions out."""
    (case,) = plan.of("rows")
    await report.call("V1", "server live", true, client.is_server_live, url)
    await report.call("V1", "model ready", true, client.is_model_ready, url, case.model)
    await report.call("V1", "predict", predictions, client, url, case)
    await report.error("unknown model, V1", client.infer, url, {"instances": [1]}, model_name="none")


async def predictions(client: Any, url: str, case: Case) -> Answer:
    """A prediction for each row, with the case's inputs as objects."""
    rows = range(case.inputs[0].shape[0])
    instances = [{tensor.name: plain(tensor.array[row]) for tensor in case.inputs} for row in rows]
    found = (await client.infer(url, {"instances": instances}, model_name=case.model))["predictions"]
    expected = [{tensor.name: plain(tensor.array[row]) for tensor in case.answers[0]} for row in rows]
    if found != expected:
        raise WrongAnswerError(f"predictions are {found}, expected {expected}"[:300])
    return True


def plain(row: Any) -> Any:
    """An array as JSON has it."""
    listed = row.tolist()
    return texts(listed)


def texts(value: Any) -> Any:
    """Nested lists with their bytes as texts."""
    if isinstance(value, list):
        return [texts(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


async def second_protocol(report: Report, client: Any, url: Sequence[str], plan: Plan) -> None:
    """V2 over HTTP, or gRPC where there is no `url`."""
    await report.call("health", "server live", true, client.is_server_live, *url)
    await report.call("health", "server ready", true, client.is_server_ready, *url)
    for case in plan.of("datatype"):
        await report.call("health", case.about, true, client.is_model_ready, *url, case.model)
        for binary in (True, False):
            call = "infer, binary" if binary else "infer, JSON" if url else "infer, typed contents"
            await report.call(call, case.about, infer, client, url, case, binary)
    wrong = {"name": "none"}
    for about, mistake in (("unknown input", wrong), ("unknown model, infer", {"model": "none"})):
        await report.error(about, infer, client, url, plan.of("datatype")[0], True, **mistake)


async def infer(
    client: Any, url: Sequence[str], case: Case, binary: bool, name: str = "", model: str = ""
) -> Answer:
    """One request, compared with the case."""
    inputs = []
    for tensor in case.inputs:
        given = InferInput(name or tensor.name, tensor.shape, tensor.datatype)
        try:
            given.set_data_from_numpy(tensor.array, binary_data=binary)
        except Exception as error:
            raise CannotAskError(str(error)) from error
        inputs.append(given)
    outputs = [RequestedOutput(tensor.name, {"binary_data": binary}) for tensor in case.answers[0]]
    request = InferRequest(model or case.model, inputs, request_id="an id", request_outputs=outputs)
    try:
        request.to_rest() if url else request.to_grpc()
    except Exception as error:
        raise CannotAskError(str(error)) from error
    if url:
        found = await client.infer(*url, request, model_name=model or case.model)
    else:
        found = await client.infer(request)
    checked(case, [{output.name: output.as_numpy() for output in found.outputs}])
    return {"model": found.model_name, "id": found.id, "outputs": len(found.outputs)}


async def true(ask: Any, *arguments: Any) -> bool:
    """What has to be true."""
    if not await ask(*arguments):
        raise WrongAnswerError("not true")
    return True


if __name__ == "__main__":
    run(calls)
