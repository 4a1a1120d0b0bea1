"""Certificates of the tiers that the scaler makes: pods wait for them, upgrades keep them, a new authority costs no request."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from cluster import QUICK, Release, eventually, mock_models, release, run
from cryptography import x509
from open_loop import open_loop

AUTHORITY = "hub-inferencehub-tiers-authority"
TIERS = ("gateway", "inference")
SETTLE_S = 15
DEADLINE_S = 5.0  # gateways hold a request while they reach no pod: one that waits so long is lost


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    values = {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}},
        "inference": {"autoscaling": {"source": "demand", "minReplicas": 2, "maxReplicas": 2}},
        "scaler": {"replicas": 2},
        "tls": {"tiers": {"selfSigned": True, "settleSeconds": SETTLE_S}},
    }
    with release(values, "hub-self-signed") as hub:
        eventually(lambda: len(hub.ready("inference")) == 2, "the autoscaler has started the second pod")
        yield hub


def entry(hub: Release, secret: str, name: str) -> str:
    """An entry of a Secret; "" if there is none."""
    data = hub.get(f"secret/{secret}").get("data") or {}
    return b64decode(data.get(name, "")).decode()


def tier(hub: Release, name: str, file: str) -> str:
    """A file of a tier's Secret."""
    return entry(hub, f"hub-inferencehub-{name}-tls", file)


def all_files(hub: Release) -> list[str]:
    """Everything that the Secrets hold."""
    found = [entry(hub, AUTHORITY, file) for file in ("tls.crt", "tls.key")]
    return found + [tier(hub, name, file) for name in TIERS for file in ("tls.crt", "tls.key", "ca.crt")]


def test_pods_wait_for_their_certificates_and_models_answer_through_tls(hub: Release) -> None:
    authority = entry(hub, AUTHORITY, "tls.crt")
    for name in TIERS:
        assert tier(hub, name, "ca.crt") == authority
        certificate = x509.load_pem_x509_certificate(tier(hub, name, "tls.crt").encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        assert all(pod.restarts == 0 for pod in hub.pods(name))
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")


def test_upgrades_and_new_scalers_keep_them(hub: Release) -> None:
    before = all_files(hub)
    hub.deploy({**hub.values, "monitoring": {"dashboard": {"enabled": True}}})
    hub.restart("hub-inferencehub-scaler")
    assert all_files(hub) == before


async def test_a_new_authority_costs_no_request(hub: Release, figure: Any) -> None:
    """100 requests a second, half of them on new connections, while somebody takes the authority's key away."""
    old = entry(hub, AUTHORITY, "tls.crt")
    shown = {name: tier(hub, name, "tls.crt") for name in TIERS}

    def in_all_pods(count: int) -> None:
        for name in TIERS:
            hub.look(name)
        hub.reloaded(count, gateway="HUB_TIER_TLS", inference="HUB_TIER_TLS")

    def replaced() -> str:
        """Go through the steps; the new authority."""
        hub.kubectl("patch", "secret", AUTHORITY, "--type=merge", "--patch", '{"data":null}')
        eventually(lambda: entry(hub, AUTHORITY, "tls.crt") not in ("", old), "there is a new authority", 40)
        new = entry(hub, AUTHORITY, "tls.crt")
        eventually(lambda: all(tier(hub, name, "ca.crt") == new + old for name in TIERS), "both are trusted")
        assert all(tier(hub, name, "tls.crt") == shown[name] for name in TIERS)
        in_all_pods(1)
        eventually(
            lambda: all(tier(hub, name, "tls.crt") != shown[name] for name in TIERS), "the new one signs"
        )
        assert all(tier(hub, name, "ca.crt") == new + old for name in TIERS)
        in_all_pods(2)
        eventually(lambda: all(tier(hub, name, "ca.crt") == new for name in TIERS), "the old one is dropped")
        in_all_pods(3)
        return new

    async with (
        open_loop(hub.url(), "quick", DEADLINE_S, fresh=True) as fresh,
        open_loop(hub.url(), "quick", DEADLINE_S) as kept,
    ):
        fresh.rate = kept.rate = 50.0
        await asyncio.sleep(3)
        began = monotonic()
        new = await asyncio.to_thread(replaced)
        took = monotonic() - began
        await asyncio.sleep(3)
    sent, failed = fresh.sent + kept.sent, fresh.failed + kept.failed
    figure(
        f"{sent} requests, {len(failed)} failed; authority replaced in {took:.0f} s, settled for {SETTLE_S} s twice"
    )
    assert not failed
    assert sent > 1000
    assert new != old
    assert all(pod.restarts == 0 for name in TIERS for pod in hub.pods(name))
