"""One call of a model, made from its signature: zeros, short texts, 1 where a dimension may have any size.

Where the config has a `model_warmup`, its first request is taken instead: the author has chosen it.
"""

from __future__ import annotations

from math import prod

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import DTYPES, Tensor, checked_tensor, pack_bytes
from inferencehub.inference.models.warmup import trial_request
from inferencehub.inference.runtimes.runtime import ModelSource

TEXT = b"text"
# Inputs of models under OpenAI's API hold JSON; see docs/models.md.
OF_API = {
    ("openai-chat", "messages"): b'[{"role":"user","content":"text"}]',
    ("openai-chat", "parameters"): b"{}",
    ("openai-completion", "parameters"): b"{}",
}


def example(source: ModelSource, info: ModelInfo) -> tuple[InferRequest, str]:
    """A request of one row, and what it holds, in words.

    Args:
        source: the model.
        info: what it has loaded as.

    Raises:
        HubError: BAD_INPUT if a `model_warmup` describes no valid request.
    """
    for trial in source.config.model_warmup:
        if trial.batch_size:
            return trial_request(source, trial), f"the warm-up '{trial.name}'"
    needed = [spec for spec in info.signature.inputs if not spec.optional]
    api = info.parameter("api")
    inputs = [filled(spec, OF_API.get((api, spec.name), TEXT)) for spec in needed]
    texts = {tensor.dtype == "BYTES" for tensor in inputs}
    held = {frozenset({True}): "a short text", frozenset({False}): "zeros"}.get(
        frozenset(texts), "zeros and short texts" if texts else "no input"
    )
    return InferRequest(info.name, info.version, tuple(inputs)), held


def filled(spec: TensorSpec, text: bytes) -> Tensor:
    """A tensor for an input: zeros, or `text` in each element of BYTES.

    A dimension of any size is 1, and so are both dimensions of an input that takes every shape.
    """
    shape = (1, 1) if spec.any_shape else tuple(1 if size < 0 else size for size in spec.shape)
    count = prod(shape)
    size = DTYPES[spec.dtype]
    return checked_tensor(
        spec.name, spec.dtype, shape, bytes(size * count) if size else pack_bytes([text] * count)
    )
