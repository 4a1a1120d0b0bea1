"""tritonclient's calls about the server and its models; they are the same in all four flavours."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from conformance.clients.plan import Plan
from conformance.clients.report import Report, WrongAnswerError, settled
from conformance.clients.triton_infer import inputs_of

LOOKS, LOOK_S = 50, 0.1  # at counters that may come late


async def server_calls(report: Report, client: Any, plan: Plan, grpc: bool) -> None:
    """Health, metadata, configurations, the index, statistics, settings, loading and unloading."""
    as_json = {"as_json": True} if grpc else {}

    await report.call("health", "server live", true, client.is_server_live)
    await report.call("health", "server ready", true, client.is_server_ready)
    for case in plan.of("datatype"):
        model, version, about = case.model, case.version, case.about
        await report.call("health", about, true, client.is_model_ready, model, version)
        await report.call("metadata", about, client.get_model_metadata, model, version, **as_json)
        await report.call("configuration", about, client.get_model_config, model, version, **as_json)
    await report.call("metadata", "without a version", client.get_model_metadata, plan.spare, **as_json)
    await report.call("metadata", "server", server_metadata, client, as_json)
    await report.call("repository index", "all", index, client, plan, as_json)
    await report.call("statistics", "of a version", statistics, report, client, plan, grpc, as_json)
    await report.call("statistics", "of all", all_statistics, client, plan, as_json)
    await report.call("log settings", "read", client.get_log_settings, **as_json)
    await report.call("log settings", "change the level", log_level, client, as_json)
    await report.call("trace settings", "read", client.get_trace_settings, **as_json)
    await report.call("trace settings", "read a model's", client.get_trace_settings, plan.spare, **as_json)
    for about, settings in (("change", {"trace_rate": "1234"}), ("set back", {"trace_rate": None})):
        await report.call(
            "trace settings, to change", about, client.update_trace_settings, settings=settings, **as_json
        )
    await report.call("load, unload", "unload", client.unload_model, plan.spare)
    await report.call("load, unload", "load", client.load_model, plan.spare)


async def true(ask: Any, *arguments: Any) -> bool:
    """What has to be true."""
    if not await settled(ask(*arguments)):
        raise WrongAnswerError("false, expected true")
    return True


async def server_metadata(client: Any, as_json: Mapping[str, bool]) -> Any:
    """The server's metadata, with its extensions by name."""
    found = await settled(client.get_server_metadata(**as_json))
    return {**found, "extensions": dict.fromkeys(found["extensions"], True)}


async def index(client: Any, plan: Plan, as_json: Mapping[str, bool]) -> Any:
    """The entries of the plan's models, by what they are there for."""
    found = await settled(client.get_model_repository_index(**as_json))
    entries = {entry["name"]: entry for entry in (found["models"] if as_json else found)}
    if missing := {case.model for case in plan.cases} - entries.keys():
        raise WrongAnswerError(f"{sorted(missing)} are missing")
    return {case.about: entries[case.model] for case in plan.cases if case.runtime == "python"}


def counted(found: Any) -> tuple[int, int, int]:
    """Answered requests, rows and runs of the only entry."""
    (entry,) = found["model_stats"]
    return (
        int(entry["inference_stats"].get("success", {}).get("count", 0)),
        int(entry.get("inference_count", 0)),
        int(entry.get("execution_count", 0)),
    )


async def statistics(report: Report, client: Any, plan: Plan, grpc: bool, as_json: Mapping[str, bool]) -> Any:
    """What the counters of a model gain by three requests, and which fields there are."""
    case = plan.of("datatype")[0]
    before = counted(await settled(client.get_inference_statistics(case.model, case.version, **as_json)))
    module = report.client
    for _ in range(3):
        await settled(client.infer(case.model, inputs_of(module, case, {}), case.version))
    for _ in range(LOOKS):  # Triton may answer before it counts
        after = await settled(client.get_inference_statistics(case.model, case.version, **as_json))
        success, rows, runs = (now - then for now, then in zip(counted(after), before, strict=True))
        if success >= 3:
            break
        await asyncio.sleep(LOOK_S)
    batch = case.inputs[0].shape[0] if case.batched else 1
    if (success, rows, runs) != (3, 3 * batch, 3):
        raise WrongAnswerError(f"3 requests of {batch} rows count as {success}, rows {rows}, runs {runs}")
    return dict.fromkeys(after["model_stats"][0], True)


async def all_statistics(client: Any, plan: Plan, as_json: Mapping[str, bool]) -> Any:
    """Whether all models have statistics."""
    found = await settled(client.get_inference_statistics(**as_json))
    names = {entry["name"] for entry in found["model_stats"]}
    if missing := {case.model for case in plan.cases} - names:
        raise WrongAnswerError(f"{sorted(missing)} are missing")
    return True


async def log_level(client: Any, as_json: Mapping[str, bool]) -> Any:
    """The level after it was raised, and put back."""
    raised = await settled(client.update_log_settings({"log_verbose_level": 1}, **as_json))
    lowered = await settled(client.update_log_settings({"log_verbose_level": 0}, **as_json))
    return [(found.get("settings", found))["log_verbose_level"] for found in (raised, lowered)]


async def shared_memory(report: Report, client: Any) -> None:
    """Regions of the system's and of CUDA's shared memory."""
    region = SharedMemory(create=True, size=64)
    key = "/" + region.name.lstrip("/")
    read, register = "shared memory, status", "shared memory, to register"
    try:
        await report.call(read, "system", status, client.get_system_shared_memory_status)
        await report.call(register, "system", client.register_system_shared_memory, "region", key, 64)
        await report.call(
            read, "unregister a region of the system", client.unregister_system_shared_memory, "region"
        )
        await report.call(read, "unregister all of the system", client.unregister_system_shared_memory)
    finally:
        region.close()
        region.unlink()
    await report.call(read, "CUDA", status, client.get_cuda_shared_memory_status)
    await report.call(register, "CUDA", client.register_cuda_shared_memory, "region", b"AAAA", 0, 64)
    await report.call(read, "unregister all of CUDA", client.unregister_cuda_shared_memory)


async def status(ask: Any) -> int:
    """How many regions there are."""
    found = await settled(ask())
    return len(found if isinstance(found, list) else found.regions)


async def who_is_unknown(report: Report, client: Any, module: Any, plan: Plan) -> None:
    """Mistakes of a caller, each of which has a status."""
    case = next(one for one in plan.of("datatype") if "FP32" in one.datatypes)
    name = module.__name__

    def infer(model: str, version: str, **wrong: Any) -> Any:
        inputs = inputs_of(name, case, wrong)
        return client.infer(model, inputs, version)

    async def ready(model: str, version: str) -> None:
        if await settled(client.is_model_ready(model, version)):
            raise WrongAnswerError("ready, expected not")

    await report.call("health", "unknown model", ready, "none", "")
    await report.call("health", "unknown version", ready, case.model, "123456")
    await report.error("unknown model, metadata", client.get_model_metadata, "none")
    await report.error("unknown model, configuration", client.get_model_config, "none")
    await report.error("unknown model, statistics", client.get_inference_statistics, "none")
    await report.error("unknown model, infer", infer, "none", "")
    await report.error("unknown version, infer", infer, case.model, "123456")
    await report.error("unknown input", infer, case.model, case.version, name="none")
    await report.error("another datatype", infer, case.model, case.version, datatype="FP64")
    await report.error("another shape", infer, case.model, case.version, rank=7)
    await report.error("no inputs", client.infer, case.model, [], case.version)
    none, inputs = [module.InferRequestedOutput("none")], inputs_of(name, case, {})
    await report.error("unknown output", client.infer, case.model, inputs, case.version, outputs=none)
