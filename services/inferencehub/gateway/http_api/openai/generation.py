"""POST /v1/chat/completions and /v1/completions: messages or a prompt in, text out; one answer, or events as they come."""

from __future__ import annotations

from functools import partial
from time import time

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.events import EventStream
from inferencehub.gateway.http_api.openai.chunks import Chunks
from inferencehub.gateway.http_api.openai.generated import Generated
from inferencehub.gateway.http_api.openai.whole_text import WholeText, Written
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.openai.errors import openai_error
from inferencehub.gateway.json_codec.openai.generation_json import (
    Asked,
    Form,
    Frame,
    decode_asked,
    generation_request,
)


class Generation:
    """The endpoint.

    Args:
        calls: where requests go.
        form: chat or completion.
        keep_alive_s: seconds of silence after which a stream of events gets a comment.
    """

    method = "POST"

    def __init__(self, calls: Calls, form: Form, keep_alive_s: float) -> None:
        self.calls = calls
        self.form = form
        self.keep_alive_s = keep_alive_s

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.decode(partial(decode_asked, self.form), partial(self._ask, call))

    def _ask(self, call: HttpCall, asked: Asked) -> None:
        call.drop_body()
        frame = Frame(self.form, call.exchange.id, asked.model, int(time()))
        generated = Generated(asked.prompt_tokens, asked.stops, asked.most_tokens)
        sink: EventStream | WholeText
        if asked.stream:
            sink = EventStream(call, Chunks(frame, generated, asked.usage), self.keep_alive_s)
        else:
            table = self.calls.table
            most_bytes = table.fleet.most_message_bytes
            sink = WholeText(call, frame, generated, most_bytes, table.bytes_held)
        request = partial(generation_request, form=self.form, asked=asked)
        large = call.exchange.size > LARGE_JSON
        self.calls.submit_made(call.exchange, asked.model, "", request, sink, beside=large)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`; the text is written already, because it may come from several answers."""
        assert isinstance(call.wanted, Written)
        return JSON, (call.wanted.text,)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return openai_error(error)
