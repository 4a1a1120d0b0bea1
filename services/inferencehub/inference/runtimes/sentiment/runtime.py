"""The sentiment model as a runtime: text in; class, confidence and label out. The rules are in `rules.py`.

The rules are Python, so a run shares the GIL with the service, and its time grows with the text. The config parameter
`max_text_bytes` (default 65536) limits the size of one text. A run checks its deadline before each text.
"""

from __future__ import annotations

from struct import pack
from time import monotonic

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes, unpack_bytes
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime
from inferencehub.inference.runtimes.sentiment.rules import SentimentRules
from inferencehub.inference.runtimes.support.declared import needs_declaration
from inferencehub.inference.runtimes.support.threads import Threads


class SentimentRuntime(Runtime):
    """The sentiment model: one BYTES input, each element a text.

    Outputs, in any order, each with the input's shape: INT32 (class), FP32 (confidence) and BYTES (label).
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.threads = Threads(source.name, source.instances)
        self.signature = Signature((), ())
        self.rules: SentimentRules | None = None
        written = source.parameter("max_text_bytes", "65536")
        if not written.isdecimal() or not int(written):
            raise bad_input(f"config.pbtxt: max_text_bytes is '{written}', expected a whole number from 1")
        self.max_text_bytes = int(written)

    async def load(self) -> Signature:
        self.signature = signature = needs_declaration(self.source.config)
        inputs = [spec.dtype for spec in signature.inputs]
        if inputs != ["BYTES"] or not {spec.dtype for spec in signature.outputs} <= {
            "INT32",
            "FP32",
            "BYTES",
        }:
            raise bad_input(
                "config.pbtxt: the sentiment backend has one TYPE_STRING input and INT32, FP32, STRING outputs"
            )
        self.rules = await self.threads.run(SentimentRules.load)
        return signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...]:
        texts = request.inputs[0]
        return await self.threads.run_sized(lambda: self._run(texts, deadline), request.size)

    async def unload(self) -> None:
        self.threads.close()

    def _run(self, texts: Tensor, deadline: float) -> tuple[Tensor, ...]:
        assert self.rules is not None
        found = []
        for text in unpack_bytes(texts.data):
            if len(text) > self.max_text_bytes:
                raise bad_input(f"text has {len(text)} bytes, expected at most {self.max_text_bytes}")
            if monotonic() > deadline:
                raise HubError(
                    Kind.DEADLINE, f"model '{self.source.name}' was not done at the request's deadline"
                )
            found.append(self.rules.classify(text.decode(errors="replace")))
        values = {
            "INT32": pack(f"<{len(found)}i", *[sentiment.class_id for sentiment in found]),
            "FP32": pack(f"<{len(found)}f", *[sentiment.confidence for sentiment in found]),
            "BYTES": pack_bytes([sentiment.label.encode() for sentiment in found]),
        }
        return tuple(
            [
                checked_tensor(spec.name, spec.dtype, texts.shape, values[spec.dtype])
                for spec in self.signature.outputs
            ]
        )
