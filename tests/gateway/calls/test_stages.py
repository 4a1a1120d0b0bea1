"""Stages: where the first and the last of their moments come, what they see, and that a refusal costs nobody else anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inferencehub.core.auth.authentication import Metadata
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.stages import LoadShedding, Memory, Stage
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.routes import endpoints
from inferencehub.gateway.server import Gateway
from tests.gateway.raw import Raw, request
from tests.hub import Hub, mock_model, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Doorman(Stage):
    """Refuses callers without a ticket at their head, and numbers above 100 once the request is read."""

    def __init__(self) -> None:
        self.admitted: list[tuple[str, tuple[int, ...]]] = []

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        if metadata.get(b"x-ticket") != b"valid":
            raise HubError(Kind.UNAUTHENTICATED, "expected a valid X-Ticket")

    def admit(self, exchange: Exchange, request: InferRequest, rows: int) -> None:
        self.admitted.append((exchange.model, request.inputs[0].shape))
        assert rows == 1
        if request.inputs[0].shape[-1] > 2:
            raise HubError(Kind.FORBIDDEN, "expected two numbers at most")


def add_stage(gateway: Gateway, stage: Stage) -> None:
    """Put a stage in front of those that a gateway has, on all its paths."""
    stages = [stage, Memory(gateway.bytes_held), LoadShedding()]
    calls = Calls(gateway.table, gateway.unknown, gateway.settings, stages)
    gateway.edge.calls, gateway.edge.find = calls, endpoints(calls)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doorman() -> AsyncIterator[Doorman]:
    yield Doorman()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory, doorman: Doorman) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    async with running_hub(models, default_model="quick", queue_bytes=100_000) as hub:
        add_stage(hub.gateway, doorman)
        yield hub


async def test_a_head_that_is_refused_is_answered_before_its_body_comes(hub: Hub, doorman: Doorman) -> None:
    async with Raw(hub.gateway.port) as raw:
        whole = request("POST", "/predict", b'{"features":[1]}')
        await raw.send(whole[:-5])
        answer = await raw.read()
        assert (answer.status, answer.json["error"]) == (401, "expected a valid X-Ticket")
        await raw.send(whole[-5:])  # what is left of it does not disturb the next request
        good = await raw.ask("POST", "/predict", b'{"features":[1]}', "x-ticket: valid")
        assert good.status == 200
    assert doorman.admitted[-1][0] == "quick"


async def test_a_request_is_admitted_once_its_model_and_shape_are_known(hub: Hub, doorman: Doorman) -> None:
    async with Raw(hub.gateway.port) as raw:
        x = b'{"inputs":[{"name":"features","shape":[%d],"datatype":"FP32","data":%b}]}'
        for path, body, count in (
            ("/predict", b'{"features":[1,2,3]}', 3),
            ("/v2/models/quick/infer", x % (3, b"[1,2,3]"), 3),
            ("/predict", b'{"features":[1,2]}', 2),
        ):
            answer = await raw.ask("POST", path, body, "x-ticket: valid")
            assert answer.status == (403 if count > 2 else 200)
            assert doorman.admitted[-1] == ("quick", (count,))
    assert hub.gateway.bytes_held.held == 0


async def test_questions_pass_the_checks_too_and_probes_do_not(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        assert (await raw.ask("GET", "/v2/models")).status == 401
        assert (await raw.ask("GET", "/v2/models", None, "x-ticket: valid")).status == 200
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert (await raw.ask("GET", path)).status == 200


async def test_a_body_without_room_is_refused_at_its_head(hub: Hub) -> None:
    hub.gateway.bytes_held.take(95_000)
    try:
        async with Raw(hub.gateway.port) as raw:
            await raw.send(request("POST", "/predict", None, "content-length: 9000", "x-ticket: valid"))
            answer = await raw.read()
            assert answer.status == 429
            assert "the limit is 100000" in answer.json["error"]
    finally:
        hub.gateway.bytes_held.give(95_000)
