"""An ensemble: a model that is made of others. A pod only describes it; gateways run its steps, at whatever pods."""

from __future__ import annotations

from inferencehub.core.oip.ensembles.steps import steps_of
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.runtime import EmitOutputs, Runtime
from inferencehub.inference.runtimes.support.declared import needs_declaration


class Ensemble(Runtime):
    """Checks the steps that config.pbtxt names (`core/oip/ensembles`)."""

    async def load(self) -> Signature:
        config = self.source.config
        for field, is_set in (
            ("instance_group", config.instance_group),
            ("model_warmup", config.model_warmup),
        ):
            if is_set:
                raise bad_input(f"config.pbtxt: an ensemble has no instances, expected no {field}")
        reshaped = [entry.name for entry in config.input if entry.HasField("reshape")]
        reshaped += [entry.name for entry in config.output if entry.HasField("reshape")]
        if reshaped:
            raise bad_input(
                f"config.pbtxt: '{reshaped[0]}' has a reshape, which the steps of an ensemble don't see"
            )
        steps_of(config)
        return needs_declaration(config)

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        raise HubError(
            Kind.UNSUPPORTED,
            f"model '{request.model}' is an ensemble, whose steps a gateway runs; this is a pod, expected a call to a gateway",
        )
