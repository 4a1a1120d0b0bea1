"""tritonclient: its four flavours, `tritonclient.http`, `.http.aio`, `.grpc` and `.grpc.aio`, and every call of each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TextIO

from conformance.clients.plan import Plan
from conformance.clients.report import Report, Target, run, settled
from conformance.clients.triton_infer import inference
from conformance.clients.triton_server import server_calls, shared_memory, who_is_unknown
from conformance.clients.triton_streams import streams


@dataclass(frozen=True)
class Flavour:
    """One of the four: its module, and whether it speaks gRPC and is asynchronous."""

    name: str
    grpc: bool
    aio: bool


FLAVOURS = (
    Flavour("tritonclient.http", grpc=False, aio=False),
    Flavour("tritonclient.http.aio", grpc=False, aio=True),
    Flavour("tritonclient.grpc", grpc=True, aio=False),
    Flavour("tritonclient.grpc.aio", grpc=True, aio=True),
)


def refusal(error: BaseException) -> str | None:
    """The status that a server refused with; none where the error is the client's own."""
    status = getattr(error, "status", lambda: None)()
    return None if status is None else str(status).removeprefix("StatusCode.")


async def calls(target: Target, plan: Plan, out: TextIO) -> None:
    """All calls of all flavours that reach a server."""
    for flavour in FLAVOURS:
        if address := target.grpc if flavour.grpc else target.http:
            module = importlib.import_module(flavour.name)
            report = Report(flavour.name, "gRPC" if flavour.grpc else "HTTP", target.tier, out, refusal)
            client = module.InferenceServerClient(address)
            try:
                await server_calls(report, client, plan, flavour.grpc)
                await shared_memory(report, client)
                await inference(report, client, module, plan, flavour.grpc, flavour.aio)
                await who_is_unknown(report, client, module, plan)
                if flavour.grpc:
                    await streams(report, client, module, plan, flavour.aio)
            finally:
                await settled(client.close())


if __name__ == "__main__":
    run(calls)
