"""MLServer's side of a client: its types and codecs, sent as JSON over HTTP, and its converters and stubs for gRPC."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, TextIO

import grpc
import numpy as np
from mlserver import types
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from conformance.clients.plan import Case, Plan, Tensor
from conformance.clients.report import Answer, CannotAskError, Report, Target, WrongAnswerError, checked, run

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # asks no proxy of the environment


def refusal(error: BaseException) -> str | None:
    """The status that a server refused with."""
    if isinstance(error, urllib.error.HTTPError):
        return str(error.code)
    return error.code().name if isinstance(error, grpc.RpcError) else None


async def calls(target: Target, plan: Plan, out: TextIO) -> None:
    """All calls over both transports."""
    if target.http:
        await over_http(
            Report("mlserver.types", "HTTP", target.tier, out, refusal), f"http://{target.http}/v2", plan
        )
    with grpc.insecure_channel(target.grpc) as channel:
        report = Report("mlserver.grpc", "gRPC", target.tier, out, refusal)
        await over_grpc(report, GRPCInferenceServiceStub(channel), plan)


async def over_http(report: Report, url: str, plan: Plan) -> None:
    """JSON in and out, read with MLServer's types."""
    await report.call("health", "server live", fetched, f"{url}/health/live")
    await report.call("health", "server ready", fetched, f"{url}/health/ready")
    await report.call("metadata", "server", server, url)
    await report.call("repository index", "all", index, url, plan)
    for case in plan.of("datatype"):
        model = f"{url}/models/{case.model}"
        await report.call("health", case.about, fetched, f"{model}/ready")
        await report.call("metadata", case.about, metadata, model, case)
        await report.call(
            "infer, JSON", case.about, infer_json, f"{model}/versions/{case.version}/infer", case
        )
    case = plan.of("datatype")[0]
    await report.error("unknown model, infer", infer_json, f"{url}/models/none/infer", case)


def fetched(url: str, body: bytes | None = None) -> None:
    """Ask, and expect 200."""
    ask(url, body)


def ask(url: str, body: bytes | None = None) -> bytes:
    """The body of an answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=60) as answer:
        found: bytes = answer.read()
    return found


def server(url: str) -> bool:
    """The server's metadata, in MLServer's type."""
    found = types.MetadataServerResponse.model_validate_json(ask(url))
    return bool(found.name and found.version) and isinstance(found.extensions, list)


def index(url: str, plan: Plan) -> bool:
    """Whether all models are in the index, in MLServer's type."""
    request = types.RepositoryIndexRequest(ready=True).model_dump_json().encode()
    found = types.RepositoryIndexResponse.model_validate_json(ask(f"{url}/repository/index", request))
    return {case.model for case in plan.cases} <= {entry.name for entry in found.root}


def known(case: Case) -> Case:
    """The case, if MLServer has its datatypes.

    Raises:
        CannotAskError: where it does not.
    """
    if "BF16" in case.datatypes:
        raise CannotAskError("MLServer has no BF16")
    return case


def metadata(url: str, case: Case) -> Answer:
    """A model's metadata, in MLServer's type."""
    known(case)
    return types.MetadataModelResponse.model_validate_json(ask(url)).model_dump(exclude_none=True)


def encoded(case: Case) -> types.InferenceRequest:
    """The case as MLServer's codecs write it; they add a dimension to shapes that have one, which is undone."""
    inputs = []
    for tensor in known(case).inputs:
        if tensor.datatype == "BYTES":
            given = StringCodec.encode_input(
                tensor.name, [item.decode() for item in tensor.array.reshape(-1)]
            )
        else:
            given = NumpyCodec.encode_input(tensor.name, tensor.array)
        given.shape = tensor.shape
        inputs.append(given)
    outputs = [types.RequestOutput(name=tensor.name) for tensor in case.answers[0]]
    return types.InferenceRequest(id="an id", inputs=inputs, outputs=outputs)


def compared(case: Case, found: types.InferenceResponse) -> Answer:
    """Compare an answer with the case."""
    outputs = {output.name: output for output in found.outputs}
    checked(case, [{tensor.name: decoded(tensor, outputs) for tensor in case.answers[0]}])
    return {"model_name": found.model_name, "model_version": found.model_version, "id": found.id}


def decoded(tensor: Tensor, outputs: Mapping[str, types.ResponseOutput]) -> np.ndarray[Any, Any]:
    """An output as MLServer's codecs read it."""
    output = outputs[tensor.name]
    if output.datatype != tensor.datatype:
        raise WrongAnswerError(f"{tensor.name} is {output.datatype}, expected {tensor.datatype}")
    if tensor.datatype == "BYTES":
        texts: np.ndarray[Any, Any] = np.array(StringCodec.decode_output(output), dtype=object)
        return texts.reshape(output.shape)
    array: np.ndarray[Any, Any] = NumpyCodec.decode_output(output)
    return array


def infer_json(url: str, case: Case) -> Answer:
    """One request as JSON."""
    body = encoded(case).model_dump_json(exclude_none=True).encode()
    return compared(case, types.InferenceResponse.model_validate(json.loads(ask(url, body))))


async def over_grpc(report: Report, stub: Any, plan: Plan) -> None:
    """Messages made and read by MLServer's converters."""
    await report.call("health", "server live", lambda: stub.ServerLive(pb.ServerLiveRequest()).live)
    await report.call("health", "server ready", lambda: stub.ServerReady(pb.ServerReadyRequest()).ready)
    for case in plan.of("datatype"):
        await report.call("health", case.about, ready, stub, case)
        await report.call("metadata", case.about, described, stub, case)
        for raw in (True, False):
            await report.call(
                "infer, binary" if raw else "infer, typed contents", case.about, infer, stub, case, raw
            )
    await report.error("unknown model, infer", infer, stub, plan.of("datatype")[0], True, "none")


def ready(stub: Any, case: Case) -> bool:
    """Whether a model is ready."""
    return bool(stub.ModelReady(pb.ModelReadyRequest(name=case.model, version=case.version)).ready)


def described(stub: Any, case: Case) -> Answer:
    """A model's metadata, in MLServer's type."""
    known(case)
    found = stub.ModelMetadata(pb.ModelMetadataRequest(name=case.model, version=case.version))
    return converters.ModelMetadataResponseConverter.to_types(found).model_dump(exclude_none=True)


def infer(stub: Any, case: Case, raw: bool, model: str = "") -> Answer:
    """One request, with raw or typed contents."""
    request = encoded(case)
    try:
        message = converters.ModelInferRequestConverter.from_types(
            request, model or case.model, case.version, raw
        )
    except Exception as error:
        raise CannotAskError(f"{type(error).__name__}: {error}") from error
    return compared(case, converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message)))


if __name__ == "__main__":
    run(calls)
