"""A run of a model that gives one answer."""

from __future__ import annotations

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.runtime import Runtime


async def run_once(
    runtime: Runtime, instance: int, request: InferRequest, deadline: float
) -> tuple[Tensor, ...]:
    """The outputs of a run; it must emit no parts."""
    parts: list[tuple[Tensor, ...]] = []
    outputs = await runtime.run(instance, request, deadline, lambda part, weight: parts.append(part))
    assert outputs is not None
    assert not parts
    return outputs
