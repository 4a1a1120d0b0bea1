"""POST /v1/chat/completions and /v1/completions: messages or a prompt in, text out; one answer, or events as they come."""

from __future__ import annotations

from functools import partial
from time import time

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.sink import End
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.events import EventStream
from inferencehub.gateway.http_api.openai.chunks import Chunks
from inferencehub.gateway.http_api.openai.generated import Generated
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.answer_json import Wanted
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
        generated = Generated(asked.prompt, asked.stops, asked.most_tokens)
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


class Written(Wanted):
    """An answer whose JSON is `text`."""

    text: bytes = b""


class WholeText:
    """The sink of a call that carries the whole text as one answer, from a model that may give it in pieces.

    Args:
        call: the HTTP call.
        frame: what the answer says beside the text.
        generated: the text.
        most_bytes: the largest text.
        bytes_held: the process's budget of bytes; the pieces count in it until the answer is sent.
    """

    several = True

    def __init__(
        self, call: HttpCall, frame: Frame, generated: Generated, most_bytes: int, bytes_held: ByteBudget
    ) -> None:
        self._call = call
        self._frame = frame
        self._generated = generated
        self._most_bytes = most_bytes
        self._bytes_held = bytes_held
        self._held = 0
        self._pieces: list[str] = []

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        call = self._call
        if call.ended:
            return
        try:
            self._add(response, weight)
            if self._generated.enough:
                self._answer()
                call.exchange.enough(response.version)
        except HubError as error:
            call.fail(error)
            call.exchange.leave()
        else:
            call.exchange.credit(weight)

    def end(self, end: End) -> None:
        """See `Sink`."""
        call = self._call
        if not call.ended:
            try:
                if isinstance(end, InferResponse):
                    self._add(end, 0)
                if isinstance(end, HubError):
                    call.fail(end)
                else:
                    self._answer()
            except HubError as error:
                call.fail(error)
        self._bytes_held.give(self._held)

    def _add(self, response: InferResponse, weight: int) -> None:
        if self._held + weight > self._most_bytes:
            raise HubError(
                Kind.MODEL_FAILED,
                f"model '{response.model}' gave a text of more than {self._most_bytes} bytes, expected a smaller "
                "max_tokens, or a stream",
            )
        self._bytes_held.take(weight)
        self._held += weight
        self._pieces.append(self._generated.add(response))

    def _answer(self) -> None:
        frame, generated = self._frame, self._generated
        self._pieces.append(generated.end(frame.model))
        text = frame.answer("".join(self._pieces), generated.finish_reason, generated.usage)
        self._call.wanted = Written(text=text)
        self._call.end(InferResponse(frame.model, "", ()))
