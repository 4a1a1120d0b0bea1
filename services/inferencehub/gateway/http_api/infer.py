"""The two calls that run a model: POST /predict and POST /v2/models/{model}[/versions/{version}]/infer.

Raw ASGI callables, for they are the hot path: body, JSON to a request, lane, JSON of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import Tell, resolve
from inferencehub.core.oip.predict import predict_request, read_prediction
from inferencehub.core.values.errors import HubError, bad_input, shown
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.gateway.http_api.body import Body, CallerLeft, read_body
from inferencehub.gateway.http_api.edge import Exchange
from inferencehub.gateway.http_api.response import JSON, Reply, send_reply
from inferencehub.gateway.json_codec.answer_json import PredictAnswer, Wanted, encode, infer_answer
from inferencehub.gateway.json_codec.binary import JSON_SIZE, json_size
from inferencehub.gateway.json_codec.request_json import PredictBody, decode_infer, decode_predict
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.settings import GatewaySettings

T = TypeVar("T")

BINARY = b"content-type: application/octet-stream\r\n%b: %d\r\n"
LARGE_BYTES = 2**20  # decoding less takes some ms
LISTEN_AFTER_S = 0.02  # a request that is answered sooner need not know whether its caller is still there


class Calls:
    """What both endpoints share: the way of a request from its body to a model's answer.

    Args:
        fleet: where models are.
        settings: the gateway's settings.
    """

    def __init__(self, fleet: Fleet, settings: GatewaySettings) -> None:
        self.fleet = fleet
        self.settings = settings

    async def body(self, exchange: Exchange, receive: Any) -> bytes:
        """The request's body, within the limits."""
        settings = self.settings
        within_s, most = settings.body_timeout_s, settings.max_body_bytes
        return await read_body(exchange.headers, receive, most, within_s, exchange.hold)

    def deadline(self, exchange: Exchange, timeout_us: object = None) -> float:
        """When the request is no longer wanted: `X-Request-Timeout-Ms`, its `timeout` parameter, or the default."""
        settings = self.settings
        ms: float = settings.default_timeout_ms
        if timeout_us is not None:
            if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
                raise bad_input(
                    f"parameter 'timeout': expected microseconds, a whole number from 0, got {shown(timeout_us)}"
                )
            ms = timeout_us / 1000 or ms
        value = exchange.headers.get(b"x-request-timeout-ms")
        if value is not None:
            if not value.isdigit() or not 0 < (given := int(value[:20])) <= settings.max_timeout_ms:
                raise bad_input(
                    f"X-Request-Timeout-Ms: expected a whole number from 1 to {settings.max_timeout_ms}, "
                    f"got '{value[:40].decode('latin-1')}'"
                )
            ms = min(given, ms) if timeout_us else given
        return exchange.started + min(ms, settings.max_timeout_ms) / 1000

    def timed(self, exchange: Exchange, request: InferRequest) -> tuple[InferRequest, float]:
        """The request without its `timeout` parameter, and when it is no longer wanted."""
        if not request.parameters:
            return request, self.deadline(exchange)
        parameters = dict(request.parameters)
        deadline = self.deadline(exchange, parameters.pop("timeout", None))
        return replace(request, parameters=parameters), deadline

    def accept(
        self,
        exchange: Exchange,
        request: InferRequest,
        deadline: float,
        lanes: list[ModelLane],
        tell: Tell,
    ) -> None:
        """Put a request into that lane of its model which it fits; whoever stops waiting for it leaves the lane.

        Raises:
            HubError: what the signature refuses, BUSY or DEADLINE.
        """
        lane, request, rows = self.fleet.fit(lanes, request)
        self.put(exchange, lane, request, rows, deadline, tell)

    def put(
        self,
        exchange: Exchange,
        lane: ModelLane,
        request: InferRequest,
        rows: int,
        deadline: float,
        tell: Tell,
    ) -> None:
        """Put a request that fits into a lane.

        Raises:
            HubError: BUSY or DEADLINE.
        """
        job = Job(request, rows, (Member(rows, deadline, exchange.id),), monotonic())
        exchange.lane, exchange.job, exchange.model = lane, job, lane.info.name
        if exchange.held:
            exchange.release()  # a job accounts for its own bytes
        lane.accept(job, tell)

    async def run(self, exchange: Exchange, request: InferRequest, deadline: float) -> InferResponse:
        """The answer of the request's model, which is waited for where it may still appear.

        Raises:
            HubError: what became of it.
        """
        lanes = await self.fleet.lanes(request.model, request.version, deadline - monotonic())
        future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
        self.accept(exchange, request, deadline, lanes, partial(resolve, future))
        try:
            return await future
        finally:
            exchange.leave()


class Caller:
    """`with Caller(receive)`: whoever waits for an answer; if they hang up, what is done within for them is cancelled.

    Listening takes a task, so it begins only once the answer has not come at once.

    Raises:
        CallerLeft: at its end, where they hung up.
    """

    __slots__ = ("_left", "_listening", "_receive", "_task", "_timer")

    def __init__(self, receive: Any) -> None:
        self._receive = receive

    def __enter__(self) -> None:
        self._left = False
        self._task = asyncio.current_task()
        self._listening: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LISTEN_AFTER_S, self._listen)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        # What is let go here would be a cycle, which keeps the body until the collector comes.
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        task, self._task = self._task, None
        if self._left and task is not None:
            task.uncancel()
            if kind is asyncio.CancelledError:
                raise CallerLeft from None

    def _listen(self) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self._left = True
            self._task.cancel()


async def beside(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives; in a thread where `size` bytes would hold up the event loop for long."""
    return work(*arguments) if size < LARGE_BYTES else await asyncio.to_thread(work, *arguments)


class Predict:
    """POST /predict: features or text in, a class and a confidence out, of any model."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope["exchange"]
        calls = self.calls
        body = await calls.body(exchange, receive)
        parsed = await beside(len(body), decode_predict, body)
        deadline = calls.deadline(exchange)
        with Caller(receive):
            model = parsed.model_name or self._default(parsed)
            info = await calls.fleet.info(model, hold_s=deadline - monotonic())
            exchange.model = info.name
            request = await beside(len(body), predict_request, info, "", parsed.features, parsed.text)
            del body, parsed  # what waits is the request alone
            response = await calls.run(exchange, request, deadline)
        await send_reply(send, 200, *self.end(exchange, response))

    def begin(self, exchange: Exchange, body: Body, tell: Tell) -> bool:
        """See `direct.Endpoint`."""
        calls = self.calls
        if len(body) > min(LARGE_BYTES, calls.settings.max_body_bytes):
            return False
        parsed = decode_predict(body)
        deadline = calls.deadline(exchange)
        lanes = calls.fleet.known(parsed.model_name or self._default(parsed))
        if not lanes:
            return False
        info = lanes[0].info
        exchange.model = info.name
        request = predict_request(info, "", parsed.features, parsed.text)
        if len(lanes) == 1 and info.signature.first_is_all:
            calls.put(exchange, lanes[0], request, 1, deadline, tell)  # it was made to fit
        else:
            calls.accept(exchange, request, deadline, lanes, tell)
        return True

    def end(self, exchange: Exchange, response: InferResponse) -> Reply:
        """See `direct.Endpoint`."""
        assert exchange.lane is not None
        found = read_prediction(exchange.lane.info, response)
        answer = PredictAnswer(found.class_id, round(found.confidence, 6), "", found.label)
        return JSON, (encode(answer),)

    def _default(self, parsed: PredictBody) -> str:
        settings = self.calls.settings
        return settings.default_model if parsed.text is None else settings.default_text_model


def predict_error(error: HubError) -> bytes:
    """An error in the shape of /predict's answer."""
    return encode(PredictAnswer(-1, 0.0, error.detail))


class Infer:
    """POST /v2/models/{model}[/versions/{version}]/infer: the protocol's inference request."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope["exchange"]
        calls, path = self.calls, scope["path_params"]
        body = await calls.body(exchange, receive)
        model, version, size = path["model"], path.get("version", ""), json_size(exchange.headers)
        text_size = len(body) if size is None else size
        request, wanted = await beside(text_size, decode_infer, body, model, version, size)
        del body  # what waits is the request alone
        request, deadline = calls.timed(exchange, request)
        with Caller(receive):
            response = await calls.run(exchange, request, deadline)
        await send_reply(send, 200, *await beside(response.size, infer_reply, response, wanted))


class InferShort:
    """The same call of one model, on the short way."""

    def __init__(self, calls: Calls, model: str, version: str) -> None:
        self.calls = calls
        self.model = model
        self.version = version

    def begin(self, exchange: Exchange, body: Body, tell: Tell) -> bool:
        """See `direct.Endpoint`."""
        lanes = self.calls.fleet.known(self.model, self.version)
        if not lanes or len(body) > self.calls.settings.max_body_bytes:
            return False
        size = json_size(exchange.headers)
        if (len(body) if size is None else size) >= LARGE_BYTES:
            return False
        request, exchange.wanted = decode_infer(body, self.model, self.version, size)
        request, deadline = self.calls.timed(exchange, request)
        self.calls.accept(exchange, request, deadline, lanes, tell)
        return True

    def end(self, exchange: Exchange, response: InferResponse) -> Reply:
        """See `direct.Endpoint`."""
        assert exchange.wanted is not None
        return infer_reply(response, exchange.wanted)


def infer_reply(response: InferResponse, wanted: Wanted) -> Reply:
    """The protocol's answer, as the caller wants it."""
    text, raw = infer_answer(response, wanted)
    if not raw:
        return JSON, (text,)
    return BINARY % (JSON_SIZE, len(text)), (text, *raw)
