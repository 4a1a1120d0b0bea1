"""Calls of models: ModelInfer of the Open Inference Protocol, and the small Predict."""

from __future__ import annotations

from collections.abc import Sequence

from inferencehub.core.lane.sink import OneAnswer, Sink
from inferencehub.core.oip import messages
from inferencehub.core.oip.predict import features_or_text
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb


class Infer:
    """The methods.

    Args:
        calls: where requests go.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def infer(self, exchange: Exchange, data: bytes) -> pb.ModelInferResponse | bytes:
        """ModelInfer: run a model. `data` is a serialized ModelInferRequest; the answer is serialized if it is large.

        Raises:
            HubError: if the call fails.
        """
        message, raw = read_request(data)
        id, sink = message.id, OneAnswer()
        self.submit(exchange, message, raw, sink)
        del data, message, raw  # the lane accounts for the request's bytes, and frees them once it has run
        return messages.answer_to_proto(await sink.future, id)

    def submit(
        self, exchange: Exchange, message: pb.ModelInferRequest, raw: Sequence[Buffer], sink: Sink
    ) -> None:
        """Run a request; its answers go to `sink`.

        Raises:
            HubError: if the request is refused at once.
        """
        messages.refuse_ours(message)
        self.calls.submit(exchange, messages.request_from_proto(message, raw), sink)

    async def predict(
        self, exchange: Exchange, message: predict_pb.PredictRequest
    ) -> predict_pb.PredictResponse:
        """Predict: one row of features or a text in, a class and a confidence out, of any model.

        Raises:
            HubError: if the call fails.
        """
        features, text = features_or_text(message)
        sink = OneAnswer()
        self.calls.predict(exchange, message.model_name, list(features) if features else None, text, sink)
        response = await sink.future
        assert exchange.lane is not None
        found = read_prediction(exchange.lane.info, response)
        return predict_pb.PredictResponse(
            class_id=found.class_id, confidence=found.confidence, label=found.label
        )
