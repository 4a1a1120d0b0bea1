"""A simulated model: it waits without using CPU, then answers with a random class that depends on the input.

Config parameters and their defaults: `delay_ms` (500), `seed` (0), `classes` (5). The answer is a hash of the seed and
the input. So the same seed and input give the same answer on every pod.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from math import inf
from struct import pack

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor, checked_tensor
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime
from inferencehub.inference.runtimes.support.declared import needs_declaration


class Mock(Runtime):
    """Outputs an INT32 class (0 to `classes` - 1) and an FP32 confidence (0.85 to 0.99), in the config's order."""

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        try:
            self.delay = float(source.parameter("delay_ms", "500")) / 1000
            self.classes = int(source.parameter("classes", "5"))
        except ValueError as error:
            raise bad_input(
                f"config.pbtxt: parameters delay_ms and classes are numbers, got {error}"
            ) from None
        if not 0 <= self.delay < inf:
            raise bad_input(f"config.pbtxt: delay_ms is {self.delay * 1000:g}, expected 0 or more")
        if not 1 <= self.classes < 2**31:
            raise bad_input(
                f"config.pbtxt: classes is {self.classes}, expected 1 or more, as many as INT32 holds"
            )
        self.seed = source.parameter("seed", "0").encode()
        self.signature = Signature((), ())

    async def load(self) -> Signature:
        self.signature = needs_declaration(self.source.config)
        dtypes = [spec.dtype for spec in self.signature.outputs]
        if sorted(dtypes) != ["FP32", "INT32"] or self.signature.max_batch_size:
            raise bad_input(
                "config.pbtxt: the mock backend has one INT32 and one FP32 output and max_batch_size 0"
            )
        return self.signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...]:
        await asyncio.sleep(self.delay)
        draw = blake2b(key=self.seed[:64], digest_size=16)
        for tensor in request.inputs:
            draw.update(tensor.data)
        number = int.from_bytes(draw.digest(), "little")
        values = {
            "INT32": pack("<i", number % self.classes),
            "FP32": pack("<f", (85 + (number >> 64) % 15) / 100),
        }
        return tuple(
            [
                checked_tensor(spec.name, spec.dtype, (1,), values[spec.dtype])
                for spec in self.signature.outputs
            ]
        )
