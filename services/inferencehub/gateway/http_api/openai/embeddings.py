"""POST /v1/embeddings: texts in, a vector for each out."""

from __future__ import annotations

from functools import partial

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.openai.embeddings_json import (
    EmbeddingsAsked,
    EmbeddingsWanted,
    decode_embeddings,
    embeddings_answer,
    embeddings_request,
)
from inferencehub.gateway.json_codec.openai.errors import openai_error


class Embeddings:
    """The endpoint.

    Args:
        calls: where requests go.
    """

    method = "POST"

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.decode(decode_embeddings, partial(self._ask, call))

    def _ask(self, call: HttpCall, asked: EmbeddingsAsked) -> None:
        call.wanted = asked.wanted
        call.drop_body()
        request = partial(embeddings_request, asked=asked)
        large = call.exchange.size > LARGE_JSON
        self.calls.submit_made(call.exchange, asked.wanted.model, "", request, call, beside=large)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        assert isinstance(call.wanted, EmbeddingsWanted)
        return JSON, (embeddings_answer(response, call.wanted),)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return openai_error(error)
