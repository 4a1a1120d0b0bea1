"""POST /predict: features or text in, a class and a confidence out, of any model."""

from __future__ import annotations

from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.answer_json import PredictAnswer, encode
from inferencehub.gateway.json_codec.request_json import PredictBody, decode_predict


class Predict:
    """The endpoint of /predict.

    Args:
        calls: where requests go.
    """

    method = "POST"

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        if len(call.body) > LARGE_JSON:
            call.run(self._begin_large(call))
        else:
            self._ask(call, decode_predict(call.body))

    async def _begin_large(self, call: HttpCall) -> None:
        self._ask(call, await call.beside(decode_predict, call.body))

    def _ask(self, call: HttpCall, parsed: PredictBody) -> None:
        if call.ended:  # while a thread decoded it
            return
        call.drop_body()
        self.calls.predict(call.exchange, parsed.model_name, parsed.features, parsed.text, call)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        lane = call.exchange.lane
        assert lane is not None
        found = read_prediction(lane.info, response)
        answer = PredictAnswer(found.class_id, round(found.confidence, 6), "", found.label)
        return JSON, (encode(answer),)

    def error(self, error: HubError) -> bytes:
        """An error in the shape of /predict's answer."""
        return encode(PredictAnswer(-1, 0.0, error.detail))
