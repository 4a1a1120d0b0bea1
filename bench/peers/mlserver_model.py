"""MLServer's runtime: `mlserver start FOLDER`, whose settings bench/servers/peer.py writes."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.peers.sessions import OUTPUTS, session


class OnnxModel(MLModel):
    """A model of the bench, in the server's own process (`parallel_workers: 0`, its fastest way for small models)."""

    async def load(self) -> bool:
        self.run = session(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype("float32", copy=False)
        output = NumpyCodec.encode_output(OUTPUTS[self.name], self.run(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
