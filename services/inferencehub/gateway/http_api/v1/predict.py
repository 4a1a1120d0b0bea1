"""POST /v1/models/{model}:predict: instances in, predictions out (V1 protocol)."""

from __future__ import annotations

from functools import partial

import msgspec

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.answer_json import error_json
from inferencehub.gateway.json_codec.instances_json import (
    decode_instances,
    instances_request,
    predictions_json,
)


class PredictV1:
    """The endpoint of one model version.

    Args:
        calls: where requests go.
        model, version: from the path; version "" for the default one.
    """

    method = "POST"

    def __init__(self, calls: Calls, model: str, version: str) -> None:
        self.calls = calls
        self.model = model
        self.version = version

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.decode(decode_instances, partial(self._ask, call))

    def _ask(self, call: HttpCall, instances: list[msgspec.Raw]) -> None:
        call.drop_body()
        request = partial(instances_request, version=self.version, instances=instances)
        large = call.exchange.size > LARGE_JSON
        self.calls.submit_made(call.exchange, self.model, self.version, request, call, beside=large)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        exchange = call.exchange
        assert exchange.job is not None
        assert exchange.lane is not None
        rows = exchange.job.request.inputs[0].shape[0]
        return JSON, (predictions_json(response, rows, exchange.lane.info.json_outputs),)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_json(error)
