"""POST …/generate and …/generate_stream: inputs by name in, outputs by name out; one answer, or events as they come.

Source: Triton, "Generate Extension".
"""

from __future__ import annotations

from functools import partial

from inferencehub.core.lane.sink import End, several_answers
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.events import EventStream
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.answer_json import Wanted, error_json
from inferencehub.gateway.json_codec.generate_json import (
    Fields,
    decode_fields,
    generate_answer,
    generate_request,
    id_of,
)


class Generate:
    """The endpoint of one model version.

    Args:
        calls: where requests go.
        model, version: from the path; version "" for the default one.
        events: whether answers are sent as events.
        keep_alive_s: seconds of silence after which a stream of events gets a comment.
    """

    method = "POST"

    def __init__(self, calls: Calls, model: str, version: str, events: bool, keep_alive_s: float) -> None:
        self.calls = calls
        self.model = model
        self.version = version
        self.events = events
        self.keep_alive_s = keep_alive_s

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.decode(decode_fields, partial(self._ask, call))

    def _ask(self, call: HttpCall, fields: Fields) -> None:
        call.wanted = Wanted(id_of(fields))
        call.drop_body()
        sink: EventStream | ExactlyOne
        if self.events:
            sink = EventStream(call, AnswerEvents(call.exchange, call.wanted.id), self.keep_alive_s)
        else:
            sink = ExactlyOne(call)
        request = partial(generate_request, version=self.version, fields=fields)
        large = call.exchange.size > LARGE_JSON
        self.calls.submit_made(call.exchange, self.model, self.version, request, sink, beside=large)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        assert call.wanted is not None
        assert call.exchange.lane is not None
        return JSON, (generate_answer(response, call.wanted.id, call.exchange.lane.info.json_outputs),)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_json(error)


class AnswerEvents:
    """The `Events` of a stream in which each answer is one event.

    Args:
        exchange: the call.
        id: the request's, which each answer repeats; None if there is none.
    """

    enough = False

    def __init__(self, exchange: Exchange, id: str | None) -> None:
        self._exchange = exchange
        self._id = id

    def part(self, response: InferResponse) -> bytes:
        """See `Events`."""
        assert self._exchange.lane is not None
        return b"data: %b\n\n" % generate_answer(response, self._id, self._exchange.lane.info.json_outputs)

    def last(self) -> bytes:
        """See `Events`."""
        return b""


class ExactlyOne:
    """The sink of a call that carries one answer, from a model that may give several.

    Args:
        call: the HTTP call, which gets the answer.
    """

    several = True

    def __init__(self, call: HttpCall) -> None:
        self._call = call
        self._answer: InferResponse | None = None

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`. A second answer is too much."""
        self._call.exchange.credit(weight)  # the model may end, or give one too many
        if self._answer is not None:
            self._call.fail(several_answers(response.model))
            self._call.exchange.leave()
        self._answer = response

    def end(self, end: End) -> None:
        """See `Sink`."""
        if isinstance(end, InferResponse) and self._answer is not None:
            end = several_answers(end.model)
        if end is None and self._answer is None:
            model = self._call.exchange.model
            end = HubError(Kind.MODEL_FAILED, f"model '{model}' gave no answer, expected exactly one")
        self._call.end(self._answer if end is None else end)
