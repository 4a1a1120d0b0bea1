"""The gateway counts requests from the beginning: shares of errors exist before the first error."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from inferencehub.gateway.metrics import FRONTS, STATUSES
from tests.hub import Hub, running_hub

NAME = "inferencehub_gateway_requests"


async def requests(hub: Hub) -> dict[tuple[str, str, str], float]:
    """The counter by front, model and status."""
    families = {family.name: family for family in text_string_to_metric_families(await hub.metrics())}
    return {
        (sample.labels["front"], sample.labels["model"], sample.labels["status"]): sample.value
        for sample in families[NAME].samples
    }


async def test_requests_are_counted_from_the_beginning() -> None:
    async with running_hub() as hub:
        began = await requests(hub)
        assert set(began.values()) == {0}
        models = {model for _, model, _ in began}
        assert {"", "v1-mock", "sentiment"} <= models
        assert began.keys() == {(f, m, s) for f in FRONTS for m in models for s in STATUSES}
        await hub.post("/predict", {"text": "good"})
        await hub.post("/predict", {"text": "good", "model_name": "none"})
        await hub.post("/predict", {"features": [1], "model_name": "sentiment"})
        counted = {key: value for key, value in (await requests(hub)).items() if value}
        assert counted == {
            ("http", "sentiment", "200"): 1,
            ("http", "sentiment", "400"): 1,
            ("http", "", "404"): 1,
        }
