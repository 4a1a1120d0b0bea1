"""Models that call models, in a real hub: the pods' processes call the gateway that the test calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inferencehub.core.values.requests import Parameter
from tests.hub import Hub, running_hub, write_model
from tests.ports import free_port

# `x` is doubled by the model `double`; the parameters say how, and what else is called.
CALLER = """
import asyncio, os, threading, time
import numpy as np
from pathlib import Path
from inferencehub.model.calls import CallError

class Model:
    def __init__(self, directory, parameters):
        self.directory = directory
        self.cancelled = 0

    {predict}
    {methods}
"""
ASYNC = """
    async def predict(self, inputs, context):
        return {"y": await getattr(self, context.parameters.get("do", "one"))(inputs["x"], context)}

    async def one(self, x, context):
        name = context.parameters.get("model", "double")
        return (await context.call(name, {"x": x}))["y"]
    async def caught(self, x, context):
        try:
            return await self.one(x, context)
        except CallError as error:
            raise ValueError(f"{error.kind}|{error.model}|{error.detail}")
    async def many(self, x, context):
        answers = await asyncio.gather(*[context.call("double", {"x": x + n}) for n in range(50)])
        return sum(answer["y"] for answer in answers)
    async def deep(self, x, context):
        given = await context.call("caller", {"x": x + 1}, parameters={"do": "deep", "call_depth": 0})
        return given["y"]
    async def begun(self, x, context):
        call = asyncio.create_task(context.call("double", {"x": x}, parameters={"nap": 60.0}))
        while not (self.directory / "begun").exists():
            await asyncio.sleep(0.01)
        return call
    async def enough(self, x, context):
        (await self.begun(x, context)).cancel()
        while not (self.directory.parents[1] / "double/1/ended").exists() and context.remaining > 0.5:
            await asyncio.sleep(0.01)
        return x
    async def asleep(self, x, context):
        return (await context.call("double", {"x": x}, parameters={"nap": 60.0}))["y"]
    async def in_thread(self, x, context):
        return (await asyncio.to_thread(context.call_sync, "double", {"x": x}))["y"]
    async def blocks(self, x, context):
        return context.call_sync("double", {"x": x})["y"]
    async def large(self, x, context):
        return (await context.call("double", {"x": np.zeros(int(x[0]), np.float32)}))["y"][:1]
    async def wordy(self, x, context):
        text = {"t": "a" * 2_000_000}
        return (await context.call("double", {"x": np.zeros(2**24, np.float32)}, parameters=text))["y"]
    async def untyped(self, x, context):
        return (await context.call("double", {"x": np.zeros(2, complex)}))["y"]
    async def mistyped(self, x, context):
        wrong = (
            dict(model=None), dict(version=1), dict(parameters={"t": [1]}), dict(parameters={1: "t"}),
            dict(outputs="y"), dict(outputs=[1]), dict(inputs={1: x}),
        )
        said = []
        for each in wrong:
            try:
                await context.call(**{"model": "double", "inputs": {"x": x}, **each})
            except TypeError as error:
                said.append(str(error))
        raise ValueError(f"{len(said)} of {len(wrong)}; {said[1]}")
    async def about(self, x, context):
        return (await context.call("about", {"x": x}))["y"]
    async def exit(self, x, context):
        await self.begun(x, context)
        os._exit(3)
    async def outlived(self, x, context):
        self.task = await self.begun(x, context)
        return x
    async def outlives(self, x, context):
        return [self.task.cancelled()]
"""
SYNC = """
    def predict(self, inputs, context):
        return {"y": getattr(self, context.parameters.get("do", "one"))(inputs["x"], context)}

    def one(self, x, context):
        name = context.parameters.get("model", "double")
        return context.call_sync(name, {"x": x})["y"]
    def caught(self, x, context):
        try:
            return self.one(x, context)
        except CallError as error:
            raise ValueError(f"{error.kind}|{error.model}|{error.detail}")
    def many(self, x, context):
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda n: context.call_sync("double", {"x": x + n}), range(50)))
        return sum(answer["y"] for answer in answers)
    def asleep(self, x, context):
        return context.call_sync("double", {"x": x}, parameters={"nap": 60.0})["y"]
    def left(self, x, context):
        thread = threading.Thread(target=self.asleep, args=(x, context))
        thread.start()
        while not (self.directory / "begun").exists():
            time.sleep(0.01)
        return x
    def large(self, x, context):
        return context.call_sync("double", {"x": np.zeros(int(x[0]), np.float32)})["y"][:1]
"""
DOUBLE = """
import asyncio
from pathlib import Path

class Model:
    def __init__(self, directory, parameters):
        self.begun = directory.parents[1] / "caller" / "1" / "begun"
        self.ended = directory / "ended"
    async def predict(self, inputs, context):
        if "nap" in context.parameters:
            self.begun.touch()
            try:
                await asyncio.sleep(context.parameters["nap"])
            finally:
                self.ended.touch()
        return {"y": inputs["x"] * 2}
"""
ABOUT = """
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs, context):
        raise ValueError(f"{context.id}|{context.traceparent}|{context.remaining:.0f}|{sorted(context.parameters)}")
"""
FAILING = """
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        raise {"refuse": ValueError, "fail": OSError}["KIND"]("not this")
"""
CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
"""
FLIGHTS = 'parameters { key: "max_in_flight" value { string_value: "64" } }'


def write_models(repository: Path, kind: str = "async", more: str = "") -> None:
    """The models `caller`, with `more` in its config, and those that it calls."""
    methods = {"async": ASYNC, "sync": SYNC}[kind]
    code = CALLER.replace("    {predict}\n    {methods}\n", methods)
    write_model(
        repository, "caller", CONFIG + (FLIGHTS if kind == "async" else "") + more, {"1/model.py": code}
    )
    write_model(repository, "double", CONFIG + FLIGHTS, {"1/model.py": DOUBLE})
    write_model(repository, "about", CONFIG, {"1/model.py": ABOUT})
    for name in ("refuse", "fail"):
        write_model(repository, name, CONFIG, {"1/model.py": FAILING.replace("KIND", name)})


@asynccontextmanager
async def calling_hub(models: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A hub whose pod knows the gateway; `settings` are the gateway's."""
    port = free_port()
    pod = {"gateway": f"127.0.0.1:{port}", **settings.pop("pod", {})}
    async with running_hub(models, pod=pod, grpc_port=port, **settings) as hub:
        yield hub


async def post(
    hub: Hub, x: list[float], headers: dict[str, str] | None = None, **parameters: Parameter
) -> tuple[int, Any]:
    """Status, and outputs or the error's sentence, of a call of `caller`."""
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [len(x)], "data": x}],
        "parameters": parameters,
    }
    status, answer, _ = await hub.post("/v2/models/caller/infer", body, headers=headers or {})
    return status, answer["outputs"][0]["data"] if status == 200 else answer["error"]
