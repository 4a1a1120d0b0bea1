"""The scaler keeps the certificates of the tiers in Secrets: made once, shared by replicas, and changed without a lost call."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.process.settings import SettingError
from inferencehub.scaler.issuing import LIFE
from inferencehub.scaler.metrics_api.registration import Pace
from inferencehub.scaler.server import Scaler
from inferencehub.scaler.settings import ScalerSettings
from inferencehub.scaler.tier_tls.keeper import CHANGED, contents_in, pair_in
from tests.authority import Secret
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.load import Load
from tests.scaler.kubernetes import Kubernetes, Object, kubernetes

BASE = "/api/v1/namespaces/prod/secrets/"
AUTHORITY, TIERS = f"{BASE}authority", {"gateway": f"{BASE}front", "inference": f"{BASE}back"}
CERTIFICATES = ("gateway=front:gateway.prod.svc", "inference=back:inference.prod.svc")


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Kubernetes]:
    """A Kubernetes with the Secrets as the chart renders them."""
    async with kubernetes(directory) as (server, _):
        for path in (AUTHORITY, *TIERS.values()):
            server.write(path, {"type": "Opaque"})
        yield server


@asynccontextmanager
async def running(server: Kubernetes, settle_s: float = 300.0, look_s: float = 0.1) -> AsyncIterator[Scaler]:
    """A scaler that does nothing else."""
    settings = ScalerSettings(
        port=0, ops_port=0, release="hub", namespace="prod", metrics_api=False, drain_wait_s=0.0,
        kubernetes_url=server.url, credentials=str(server.credentials),
        authority_secret="authority", tier_certificates=CERTIFICATES, tier_settle_s=settle_s,
    )  # fmt: skip
    scaler = Scaler(settings, Pace(look_s, 0.2))
    await scaler.start()
    try:
        yield scaler
    finally:
        await scaler.stop()


def entry(server: Kubernetes, path: str, name: str) -> str:
    """An entry of a Secret; "" if there is none."""
    return b64decode((server.objects[path].get("data") or {}).get(name, "")).decode(errors="replace")


def whole(server: Kubernetes) -> bool:
    """Whether all Secrets are filled."""
    return bool(entry(server, AUTHORITY, "tls.crt")) and all(
        entry(server, path, "tls.crt") for path in TIERS.values()
    )


def written(server: Kubernetes) -> int:
    """How often Secrets were written."""
    return server.count(f"PUT {BASE}")


async def looked_again(server: Kubernetes) -> None:
    """Wait until a scaler has looked at all Secrets again."""
    looks = server.count(f"GET {TIERS['inference']}")
    await eventually(lambda: server.count(f"GET {TIERS['inference']}") >= looks + 2)


async def test_it_fills_the_empty_secrets_once_and_keeps_what_else_they_have(tmp_path: Path) -> None:
    async with cluster(tmp_path) as server:
        note = {"data": {"note": b64encode(b"mine").decode()}, "metadata": {"labels": {"team": "ml"}}}
        server.write(TIERS["gateway"], note)
        async with running(server):
            await eventually(lambda: whole(server))
            assert written(server) == 3
            await looked_again(server)
        before = dict(server.objects)
        async with running(server):
            await looked_again(server)
        assert written(server) == 3
        assert server.objects == before
        assert entry(server, TIERS["gateway"], "note") == "mine"
        assert server.objects[TIERS["gateway"]]["metadata"]["labels"] == {"team": "ml"}
        assert server.objects[AUTHORITY]["type"] == "Opaque"
        assert not any(call.startswith(("POST", "DELETE", "PATCH")) for call in server.calls)
        kinds = {call.split("?")[0].split(" ")[0] for call in server.calls if BASE in call}
        assert kinds == {"GET", "PUT"}, "the rights that the chart gives"


async def test_replicas_that_start_together_make_one_authority(tmp_path: Path) -> None:
    async with cluster(tmp_path) as server:
        async with running(server), running(server), running(server):
            await eventually(lambda: whole(server))
            await looked_again(server)
        made = entry(server, AUTHORITY, "tls.crt")
        assert {entry(server, path, "ca.crt") for path in TIERS.values()} == {made}
        for path in TIERS.values():
            assert contents_in(server.objects[path]).shown.read() is not None


async def test_what_another_one_writes_meanwhile_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Between reading the empty Secret and writing it, another replica has filled it."""
    async with cluster(tmp_path) as server:
        async with running(server):
            await eventually(lambda: whole(server))
        theirs = dict(server.objects[AUTHORITY])
        server.write(AUTHORITY, {"type": "Opaque"})

        def fill(path: str) -> None:
            if path == AUTHORITY:
                server.between = lambda path: None
                server.write(AUTHORITY, {"data": theirs["data"]})

        server.between = fill
        async with running(server):
            await looked_again(server)
        assert server.objects[AUTHORITY]["data"] == theirs["data"]
        assert "not kept" not in caplog.text
        assert entry(server, TIERS["gateway"], "ca.crt") == entry(server, AUTHORITY, "tls.crt")


def files(server: Kubernetes, path: str) -> dict[str, str]:
    """What a pod gets of a Secret."""
    return {name: entry(server, path, name) for name in ("tls.crt", "tls.key", "ca.crt")}


@pytest.mark.long
async def test_a_new_authority_costs_no_call_between_real_tiers(tmp_path: Path) -> None:
    """Both tiers have the files of the Secrets, the pods later than the gateway, and both before the scaler expects it."""
    mock_model(tmp_path / "models")
    settings: dict[str, dict[str, Any]] = {"gateway": {"tier_tls_server_name": "inference.prod.svc"},
                                           "inference": {"tier_tls_client_names": ("gateway.prod.svc",), "health_port": 0}}  # fmt: skip
    async with cluster(tmp_path) as server, running(server, settle_s=6.0):
        await eventually(lambda: whole(server))
        mounted = {tier: Secret(tmp_path / tier) for tier in TIERS}
        for tier, path in TIERS.items():
            mounted[tier].fill(files(server, path))
            settings[tier].update(mounted[tier].tier_settings)
        first = {path: files(server, path) for path in TIERS.values()}
        steps: list[Callable[[dict[str, str], dict[str, str]], bool]] = [
            lambda before, now: (
                now["ca.crt"].endswith(before["ca.crt"]) and now["ca.crt"] != before["ca.crt"]
            ),
            lambda before, now: now["tls.crt"] != before["tls.crt"],
            lambda before, now: before["ca.crt"] not in now["ca.crt"],
        ]
        async with (
            running_hub(tmp_path / "models", 2, settings["inference"], **settings["gateway"]) as hub,
            Load(hub.url, workers=4) as load,
        ):
            server.write(AUTHORITY, {"type": "Opaque"})
            for done in steps:
                await eventually(
                    lambda done=done: all(done(first[path], files(server, path)) for path in first), 20
                )
                for tier, path in TIERS.items():
                    mounted[tier].fill(files(server, path))
                    await asyncio.sleep(1)
                new = files(server, TIERS["gateway"])["ca.crt"].encode()
                await eventually(lambda new=new: taken(hub) == new)
            good = load.good
            await eventually(lambda: load.good > good + 100)
        assert not load.failed, load


def taken(hub: Hub) -> bytes:
    """The authorities that the gateway trusts."""
    assert hub.gateway.fleet.certificate is not None
    return hub.gateway.fleet.certificate.contents.authorities


async def test_a_missing_secret_is_said_once_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(tmp_path) as server:
        server.delete(AUTHORITY)
        async with running(server):
            await eventually(lambda: server.count(f"GET {AUTHORITY}") > 5)
            said = [record for record in caplog.records if "not kept" in record.message]
            assert len(said) == 1
            assert "secrets/authority" in said[0].__dict__["error"]
            server.write(AUTHORITY, {"type": "Opaque"})
            await eventually(lambda: whole(server))


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01", "0001-01-01T00:00:00+14:00"])
async def test_a_time_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    async with cluster(tmp_path) as server:
        secret: Object = server.write(TIERS["gateway"], {"metadata": {"annotations": {CHANGED: text}}})
        changed = contents_in(secret).changed
        assert changed is None or changed.tzinfo is UTC
        async with running(server):
            await eventually(lambda: whole(server))
            assert contents_in(server.objects[TIERS["gateway"]]).changed is not None


async def test_entries_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    async with cluster(tmp_path) as server:
        for path in (AUTHORITY, *TIERS.values()):
            server.write(path, {"data": {"tls.crt": "/w==", "tls.key": "", "ca.crt": "/w=="}})
        async with running(server):
            await eventually(lambda: "BEGIN CERTIFICATE" in entry(server, TIERS["inference"], "ca.crt"))
            await looked_again(server)
        assert pair_in(server.objects[AUTHORITY]).read() is not None


async def test_metrics_and_logs_say_when_each_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with cluster(tmp_path) as server, running(server) as scaler, aiohttp.ClientSession() as client:
        await eventually(lambda: whole(server))
        await looked_again(server)
        async with client.get(f"http://127.0.0.1:{scaler.ops.port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = "inferencehub_scaler_certificate_end_timestamp_seconds"
        ends = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(name)}
        days = {key: round((at - datetime.now(UTC).timestamp()) / 86400) for key, at in ends.items()}
        assert days == {f'{name}{{certificate="authority"}}': 365} | {
            f'{name}{{certificate="{tier}"}}': LIFE.days for tier in TIERS
        }
        said = [record.__dict__ for record in caplog.records if "ends" in record.__dict__]
        assert len(said) == 3
        assert all(datetime.fromisoformat(line["ends"]) > datetime.now(UTC) for line in said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"authority_secret": "a"}, "belong together"),
        ({"tier_certificates": CERTIFICATES}, "belong together"),
        ({"authority_secret": "a", "tier_certificates": CERTIFICATES[:1]}, "is for gateway, expected gateway and inf"),
        ({"authority_secret": "a", "tier_certificates": ("gateway=front",)}, "has 'gateway=front', expected"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        ScalerSettings(metrics_api=False, **settings)
