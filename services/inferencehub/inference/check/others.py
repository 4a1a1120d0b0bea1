"""What stands in a check where a pod has its gateway: a model's calls of other models are refused, and noted."""

from __future__ import annotations

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.calling.running import Origin


class OtherModels:
    """See the module's text. `asked` has the names of the models that were asked for, each once, in their order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def infer(self, request: InferRequest, origin: Origin) -> tuple[Tensor, ...]:
        """See `Gateway`.

        Raises:
            HubError: UNSUPPORTED, always.
        """
        if request.model not in self.asked:
            self.asked.append(request.model)
        raise HubError(Kind.UNSUPPORTED, "a check calls no other models")
