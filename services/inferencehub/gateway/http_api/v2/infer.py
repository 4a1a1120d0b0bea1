"""POST /v2/models/{model}[/versions/{version}]/infer: an inference request of the Open Inference Protocol."""

from __future__ import annotations

from functools import partial

from inferencehub.core.oip.raw_request import raw_request
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.response import JSON, Content
from inferencehub.gateway.json_codec.answer_json import Wanted, error_json, infer_answer
from inferencehub.gateway.json_codec.binary import JSON_SIZE, json_size
from inferencehub.gateway.json_codec.files import CONTENT_TYPE, file_hint, maker_of
from inferencehub.gateway.json_codec.request_json import decode_infer

JSON_KIND = b"application/json"
BINARY = b"content-type: application/octet-stream\r\n%b: %d\r\n"


class Infer:
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
        size = json_size(call.head.fields)
        kind = call.head.fields.get(CONTENT_TYPE, JSON_KIND)
        if size is None and kind != JSON_KIND and self._ask_files(call, kind.decode("latin-1")):
            return
        if size == 0:
            self._ask_raw(call)
        elif (len(call.body) if size is None else size) > LARGE_JSON:
            call.run(self._begin_large(call, size))
        else:
            try:
                asked = decode_infer(call.body, self.model, self.version, size)
            except HubError as error:
                raise self._hinted(call, error) from None
            self._ask(call, *asked)

    def _ask_files(self, call: HttpCall, kind: str) -> bool:
        """Run the call if its body is a file or a form, as its content type says; whether it is."""
        make = maker_of(call.body, kind, self.version)
        if make is None:
            return False
        call.wanted, large = Wanted(), len(call.body) > LARGE_JSON
        call.drop_body()
        self.calls.submit_made(call.exchange, self.model, self.version, make, call, beside=large)
        return True

    def _ask_raw(self, call: HttpCall) -> None:
        """There is no JSON: the whole body is the only input, and all outputs are binary."""
        data = call.body
        call.wanted = Wanted(all_binary=True)
        call.drop_body()
        request = partial(raw_request, version=self.version, data=data)
        self.calls.submit_made(call.exchange, self.model, self.version, request, call)

    async def _begin_large(self, call: HttpCall, size: int | None) -> None:
        try:
            asked = await call.beside(decode_infer, call.body, self.model, self.version, size)
        except HubError as error:
            raise self._hinted(call, error) from None
        self._ask(call, *asked)

    def _hinted(self, call: HttpCall, error: HubError) -> HubError:
        """The error of a body that is not as expected; with a hint if it may be a file, which the model would take."""
        if not call.exchange.caller.sees(self.model):
            return error
        for lane in self.calls.table.known(self.model, self.version):
            if hint := file_hint(
                lane.info, call.body, call.head.fields.get(CONTENT_TYPE, b"").decode("latin-1")
            ):
                return HubError(error.kind, f"{error.detail}; {hint}")
        return error

    def _ask(self, call: HttpCall, request: InferRequest, wanted: Wanted) -> None:
        call.wanted = wanted
        if call.ended:  # while a thread decoded it
            return
        call.drop_body()
        self.calls.submit(call.exchange, request, call)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        assert call.wanted is not None
        assert call.exchange.lane is not None
        text, raw = infer_answer(response, call.wanted, call.exchange.lane.info.json_outputs)
        if not raw:
            return JSON, (text,)
        return BINARY % (JSON_SIZE, len(text)), (text, *raw)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_json(error)
