"""Tables to fit models with, and model files in a version directory as a runtime gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.inference.models.repository import scan
from inferencehub.inference.runtimes.runtime import (
    ModelSource,
    ProcessRules,
    Runtime,
    make_runtime,
    runtime_of,
)
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from tests.hub import write_model
from tests.inference.runtimes.one_answer import run_once

Array = npt.NDArray[Any]

RANDOM = np.random.default_rng(7)
ROWS = RANDOM.normal(size=(200, 4))
CLASSES = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int) + (ROWS[:, 2] > 0.5)  # 0, 1 or 2
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 0.0] + 3


class Loaded:
    """A loaded model, called with arrays."""

    def __init__(self, runtime: Runtime, signature: Signature) -> None:
        self.runtime = runtime
        self.signature = signature

    async def __call__(self, *arrays: Array) -> dict[str, Array]:
        """Its outputs by name for its inputs, in the types of its signature."""
        inputs = tuple(
            from_array(spec.name, spec.dtype, array)
            for spec, array in zip(self.signature.inputs, arrays, strict=True)
        )
        request, _ = self.signature.check(InferRequest("m", "1", inputs))
        outputs = await run_once(self.runtime, 0, request, monotonic() + 20)
        return {tensor.name: to_array(tensor) for tensor in outputs}


def source_of(repository: Path, file: str, config: str = "", **rules: Any) -> ModelSource:
    """A version of model `m` with that file, which is there already, as the scan of the repository finds it."""
    write_model(repository, "m", config)
    (found,) = scan(repository)
    assert found.source is not None, found.reason
    assert found.source.file.name == file
    source = found.source
    return ModelSource(
        "m", "1", source.directory, source.file, source.config, source.instances, ProcessRules(**rules)
    )


@asynccontextmanager
async def loaded(source: ModelSource) -> AsyncIterator[Loaded]:
    """A runtime with its model loaded."""
    runtime = make_runtime(runtime_of(source.config), source)
    signature = await runtime.load()
    try:
        yield Loaded(runtime, signature)
    finally:
        await runtime.unload()


def version(repository: Path) -> Path:
    """The directory of version 1 of model `m`, made now."""
    directory = repository / "m" / "1"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
