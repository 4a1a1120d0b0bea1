"""KServe's model server: `kserve_server.py --http_port PORT --workers 1 --enable_grpc false`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import kserve
from kserve import InferOutput, InferRequest, InferResponse

from bench.peers.sessions import FILES, OUTPUTS, session


class OnnxModel(kserve.Model):
    """A model of the bench."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.run = session(name)
        self.ready = True

    async def predict(
        self,
        payload: InferRequest,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        answer: Any = self.run(payload.inputs[0].as_numpy())
        output = InferOutput(OUTPUTS[self.name], list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=payload.use_binary_outputs)
        return InferResponse(
            payload.id or "", self.name, [output], use_binary_outputs=payload.use_binary_outputs
        )


if __name__ == "__main__":
    options, _ = argparse.ArgumentParser(parents=[kserve.model_server.parser]).parse_known_args()
    kserve.ModelServer(access_log_format="").start([OnnxModel(name) for name in FILES])
