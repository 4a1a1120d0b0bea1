"""Webhooks from the header of a call to a receiver, over HTTP and through both stores."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.http_api.pages.schemas import SCHEMAS
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.jobs.test_jobs import (
    ADD,
    BELOW,
    INFER,
    LATER,
    SLOW,
    ask,
    ended,
    hub_with_jobs,
    running,
    submitted,
)
from tests.gateway.jobs.webhooks.receiver import SECRET, Receiver, receiving
from tests.hub import Hub, Process, eventually, mock_model, running_gateway

ADDS = "/v2/models/adds/infer"


@asynccontextmanager
async def hub_with_webhooks(tmp_path: Path, receiver: Receiver, **settings: Any) -> AsyncIterator[Hub]:
    """A hub that may call the receiver."""
    async with hub_with_jobs(tmp_path, **signing(tmp_path, receiver), **settings) as hub:
        yield hub


def signing(tmp_path: Path, receiver: Receiver) -> dict[str, Any]:
    """The settings of webhooks to the receiver."""
    file = tmp_path / "webhook-secret"
    file.write_text(f"{SECRET}\n")
    return {"webhook_hosts": (f"http://127.0.0.1:{receiver.port}",), "webhook_secret": str(file)}


def url(receiver: Receiver, path: str) -> str:
    return f"http://127.0.0.1:{receiver.port}{path}"


async def settled(hub: Hub, job: str) -> dict[str, Any]:
    """A job whose webhook is over."""
    async with asyncio.timeout(30):
        while True:
            _, found, _ = await ask(hub, "GET", job)
            if found["webhook"]["state"] != "pending":
                return dict(found)
            await asyncio.sleep(0.05)


async def test_an_end_is_told_as_the_job_stands(
    tmp_path: Path, jobs: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, jobs=jobs) as hub:

        async def sent(path: str, body: Any, end: str, **headers: str) -> str:
            to = url(receiver, f"/200/{end}")
            durability = "local" if "sqlite" in jobs else "always"
            return await submitted(
                hub, path, body, durability, x_webhook_url=to, x_request_id=f"r-{end}", **headers
            )

        found = {
            "succeeded": await sent("/v2/models/quick/infer", INFER, "succeeded"),
            "failed": await sent(ADDS, BELOW, "failed"),
            "cancelled": await sent(*SLOW, "cancelled"),
        }
        none = await submitted(hub, ADDS, {"inputs": [ADD]}, "local" if "sqlite" in jobs else "always")
        await eventually(lambda: running(hub))
        await ask(hub, "POST", f"{found['cancelled']}/cancel")
        for end, job in found.items():
            record = await settled(hub, job)
            assert record["state"] == end
            (message,) = receiver.of(f"/200/{end}")
            said = message.read()
            assert (said["type"], said["timestamp"]) == (f"job.{end}", record["ended"])
            assert said["data"].keys() == SCHEMAS["Job"]["properties"].keys()
            told = {"url": url(receiver, f"/200/{end}"), "attempts": 1, "error": None}
            assert said["data"].pop("webhook") == {**told, "state": "pending", "status": None}
            assert record.pop("webhook") == {**told, "state": "delivered", "status": 200}
            assert said["data"] == record
            assert message.headers["content-type"] == "application/json"
            (line,) = [one for one in caplog.records if getattr(one, "job", "") == record["id"]]
            assert (line.message, vars(line)["request"], vars(line)["attempts"]) == (
                "webhook delivered",
                f"r-{end}",
                1,
            )
        assert (await ended(hub, none))["webhook"] is None
        counted = hub.gateway.metrics.registry.get_sample_value
        assert counted("inferencehub_gateway_jobs_webhooks_total", {"outcome": "delivered"}) == 3


@pytest.mark.long
async def test_a_job_that_expires_is_told(tmp_path: Path, jobs: str) -> None:
    async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, jobs=jobs, hold_s=30.0) as hub:
        await hub.pods[0].stop()
        await eventually(lambda: not hub.gateway.fleet.ready)
        headers = {**LATER, "x-webhook-url": url(receiver, "/200"), "x-job-ttl-s": "1"}
        later = {**headers, "x-job-not-before": "2000-01-01T00:00:00Z"}
        status, job, _ = await ask(hub, "POST", ADDS, {"inputs": [ADD]}, **later)
        assert status == 202, job
        await eventually(lambda: receiver.messages)
        assert receiver.messages[0].read()["type"] == "job.expired"


async def test_a_url_that_is_not_in_the_list_gets_400(tmp_path: Path) -> None:
    async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver) as hub:
        for bad in (
            "http://169.254.169.254/latest",
            f"http://localhost:{receiver.port}/",
            "http://127.0.0.1/",
            "x",
        ):
            status, said, _ = await ask(hub, "POST", ADDS, {"inputs": [ADD]}, **LATER, x_webhook_url=bad)
            assert status == 400
            assert said["error"].startswith("X-Webhook-Url: ")
        _, page, _ = await ask(hub, "GET", "/v2/jobs")
        assert page["jobs"] == []


async def test_without_hosts_there_are_no_webhooks(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        status, said, _ = await ask(
            hub, "POST", ADDS, {"inputs": [ADD]}, **LATER, x_webhook_url="https://a.test"
        )
        assert (status, said["error"]) == (
            400,
            "X-Webhook-Url: there are no webhooks here: HUB_WEBHOOK_HOSTS names no hosts",
        )


async def test_hosts_without_what_they_need_stop_the_start(tmp_path: Path) -> None:
    for settings in ({"jobs": "sqlite::memory:"}, {"webhook_secret": "x"}):
        with pytest.raises(
            SettingError, match=r"^HUB_WEBHOOK_HOSTS is there without HUB_WEBHOOK_SECRET or HUB_JOBS"
        ):
            GatewaySettings(webhook_hosts=("a.test",), **settings)  # type: ignore[arg-type]
    needs: dict[str, Any] = {"jobs": "sqlite::memory:", "webhook_secret": str(tmp_path / "none")}
    with pytest.raises(
        BadFile, match=r"^HUB_WEBHOOK_SECRET names .*none, which cannot be read: No such file"
    ):
        async with running_gateway(("127.0.0.1:1",), webhook_hosts=("a.test",), **needs):
            pass
    with pytest.raises(
        SettingError, match=r"^HUB_WEBHOOK_HOSTS has 'a.test/', expected a host name in lower case"
    ):
        async with running_gateway(("127.0.0.1:1",), webhook_hosts=("a.test/",), **needs):
            pass


@pytest.mark.long
async def test_a_webhook_outlives_the_gateway_that_delivered_it(tmp_path: Path, jobs: str) -> None:
    """It is killed while the receiver has the message and has not answered."""
    mock_model(tmp_path / "models", "quick")
    async with (
        receiving() as receiver,
        Process("inference", HUB_MODELS=str(tmp_path / "models")) as pod,
        aiohttp.ClientSession() as client,
    ):
        chosen = signing(tmp_path, receiver)
        settings = {
            "GRPC_SERVER_URL": pod.address,
            "HUB_JOBS": jobs,
            "HUB_WEBHOOK_HOSTS": chosen["webhook_hosts"][0],
            "HUB_WEBHOOK_SECRET": chosen["webhook_secret"],
        }
        async with Process("gateway", **settings) as gateway:
            headers = {**LATER, "x-webhook-url": url(receiver, "/slow")}
            async with client.post(
                f"{gateway.url}/v2/models/quick/infer", json=INFER, headers=headers
            ) as answer:
                assert answer.status == 202
                job = answer.headers["location"]
            await eventually(lambda: receiver.messages)
            gateway.send(signal.SIGKILL)
        receiver.held.set()
        async with Process("gateway", **settings) as gateway:
            await eventually(lambda: len(receiver.messages) == 2, 60)
            first, second = receiver.messages
            assert first.id == second.id
            assert first.read()["data"]["id"] == second.read()["data"]["id"]
            async with asyncio.timeout(10):
                while True:
                    async with client.get(f"{gateway.url}{job}") as answer:
                        webhook = json.loads(await answer.read())["webhook"]
                    if webhook["state"] == "delivered":
                        break
                    await asyncio.sleep(0.05)
            assert webhook["attempts"] == 2
