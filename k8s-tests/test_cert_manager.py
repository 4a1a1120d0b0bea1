"""Certificates of cert-manager: its schemas take them, and its controllers make, renew and inject them while calls go on."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from cluster import QUICK, ROOT, Release, eventually, mock_models, release, run
from cryptography import x509
from open_loop import open_loop

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import render

BUILT = ROOT / "build" / "cert-manager"
CRD = "crd/certificates.cert-manager.io"
NAMESPACE = "hub-cert-manager"
DEADLINE_S = 5.0  # gateways hold a request while they reach no pod: one that waits so long is lost
TIERS = {"gateway": "hub-inferencehub-gateway-tls", "inference": "hub-inferencehub-inference-tls"}
CALLERS, SCALER = "hub-inferencehub-gateway-callers-tls", "hub-inferencehub-scaler-certificate"


def issuers(name: str) -> list[dict[str, Any]]:
    """An authority of its own, and the issuer that signs with it. A renewed authority keeps its key, as docs/kubernetes.md says."""
    kinds = {"apiVersion": "cert-manager.io/v1", "metadata": {"name": name}}
    own = {
        "isCA": True, "commonName": name, "secretName": f"{name}-authority", "privateKey": {"algorithm": "ECDSA", "rotationPolicy": "Never"},
        "issuerRef": {"name": "self-signed"},
    }  # fmt: skip
    return [
        {**kinds, "kind": "Certificate", "spec": own},
        {**kinds, "kind": "Issuer", "spec": {"ca": {"secretName": f"{name}-authority"}}},
    ]


@pytest.fixture(scope="module")
def cert_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the cluster has; else the CRDs and controllers that `make cert-manager` has built, as a process of this machine."""
    if subprocess.run(["kubectl", "get", CRD], capture_output=True).returncode == 0:
        yield
        return
    if not (BUILT / "controllers").exists():
        pytest.skip("the cluster has no cert-manager, and `make cert-manager` has not built it")
    log = tmp_path_factory.mktemp("cert-manager") / "log"
    run("kubectl", "apply", "--server-side", "-f", str(BUILT / "crds"))
    try:
        run("kubectl", "wait", "--for=condition=Established", CRD, "--timeout=30s")
        with (
            log.open("w") as said,
            subprocess.Popen([BUILT / "controllers"], stdout=said, stderr=said) as process,
        ):
            yield
            process.terminate()
    finally:
        print("\n".join(log.read_text().splitlines()[-40:]))
        run("kubectl", "delete", "-f", str(BUILT / "crds"))


@pytest.fixture(scope="module")
def hub(cert_manager: None) -> Iterator[Release]:
    root = {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "self-signed"}}
    values = {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}},
        "inference": {"autoscaling": {"source": "demand", "minReplicas": 2, "maxReplicas": 2}},
        "scaler": {"certificates": {"source": "certManager", "issuerRef": {"name": "scaler"}}},
        "tls": {
            "callers": {"certManager": {"issuerRef": {"name": "callers"}, "dnsNames": ["hub.example"]}},
            "tiers": {"certManager": {"issuerRef": {"name": "tiers"}}},
        },
        "extraObjects": [
            {**root, "spec": {"selfSigned": {}}}, *issuers("callers"), *issuers("tiers"), *issuers("scaler")
        ],
    }  # fmt: skip
    with release(values, NAMESPACE) as hub:
        eventually(lambda: len(hub.ready("inference")) == 2, "the autoscaler has started the second pod")
        yield hub


def certificates(namespace: str) -> list[dict[str, Any]]:
    """All Certificates that the chart renders, for all combinations of values that it documents."""
    found = {}
    for values in COMBINATIONS.values():
        for one in render(values, namespace=namespace):
            if one["kind"] == "Certificate":
                found[json.dumps(one, sort_keys=True)] = one
    return list(found.values())


def objection(certificate: dict[str, Any]) -> str:
    """What the API server has against an object, by the schema of the CRD and with unknown fields refused; "" if nothing."""
    done = subprocess.run(
        ["kubectl", "create", "--dry-run=server", "--validate=strict", "-f", "-"],
        input=json.dumps(certificate),
        capture_output=True,
        text=True,
    )
    return done.stderr if done.returncode else ""


def test_its_schemas_take_every_certificate_of_the_chart(cert_manager: None) -> None:
    rendered = certificates("default")
    assert len(rendered) >= 4
    for certificate in rendered:
        assert not objection(certificate)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dnsName": ["a.b"]}, 'unknown field "spec.dnsName"'),
        ({"privateKey": {"algorithm": "EC"}}, 'Unsupported value: "EC"'),
        ({"usages": ["serving"]}, 'Unsupported value: "serving"'),
        ({"issuerRef": {}}, "spec.issuerRef.name"),
        ({"secretName": None}, "spec.secretName"),
    ],
)
def test_a_wrong_certificate_would_be_seen(cert_manager: None, change: dict[str, Any], said: str) -> None:
    right = certificates("default")[0]
    assert said in objection({**right, "spec": {**right["spec"], **change}})


def entry(hub: Release, secret: str, name: str) -> str:
    """An entry of a Secret."""
    return b64decode(hub.get(f"secret/{secret}")["data"][name]).decode()


def test_the_release_serves_with_what_its_issuers_have_signed(hub: Release) -> None:
    signers = {TIERS["gateway"]: "tiers", TIERS["inference"]: "tiers", CALLERS: "callers", SCALER: "scaler"}
    for secret, name in signers.items():
        shown = x509.load_pem_x509_certificate(entry(hub, secret, "tls.crt").encode())
        authority = x509.load_pem_x509_certificate(entry(hub, f"{name}-authority", "tls.crt").encode())
        shown.verify_directly_issued_by(authority)
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")


def test_the_scalers_authority_is_injected_so_autoscalers_reach_it(hub: Release) -> None:
    def serves() -> bool:
        listed = ["kubectl", "get", "--raw", "/apis/external.metrics.k8s.io/v1beta1"]
        return subprocess.run(listed, capture_output=True).returncode == 0

    eventually(serves, "the API server trusts the scaler", 60)
    api = hub.get("apiservice/v1beta1.external.metrics.k8s.io")
    assert b64decode(api["spec"]["caBundle"]).decode() == entry(hub, "scaler-authority", "tls.crt")


def renew(hub: Release, certificate: str) -> None:
    """Ask for a new certificate, as `cmctl renew` does."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    issuing = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": at}
    patch = [{"op": "add", "path": "/status/conditions/-", "value": issuing}]
    command = ("patch", "certificate", certificate, "--subresource=status", "--type=json")
    hub.kubectl(*command, "--patch", json.dumps(patch))


async def test_renewed_certificates_cost_no_request(hub: Release, figure: Any) -> None:
    """100 requests a second, half of them on new connections, while authorities and certificates are renewed."""
    authorities = {"tiers": "tiers-authority", "callers": "callers-authority"}
    leaves = {secret: secret for secret in (*TIERS.values(), CALLERS)}

    def renew_all(secrets: dict[str, str]) -> None:
        """Renew Certificates, named with their Secrets, and wait for that."""
        before = {secret: entry(hub, secret, "tls.crt") for secret in secrets.values()}
        for certificate in secrets:
            renew(hub, certificate)
        eventually(
            lambda: all(entry(hub, secret, "tls.crt") != old for secret, old in before.items()),
            "new ones",
            60,
        )

    def all_new() -> None:
        renew_all(authorities)
        renew_all(leaves)
        for tier in TIERS:
            hub.look(tier)
        hub.reloaded(1, gateway="HUB_TIER_TLS", inference="HUB_TIER_TLS")
        hub.reloaded(1, gateway="HUB_TLS")

    tls = ssl.create_default_context(cadata=entry(hub, CALLERS, "ca.crt"))
    tls.check_hostname = False  # nodes have addresses that the certificate does not know
    url = hub.url().replace("http://", "https://")
    async with (
        open_loop(url, "quick", DEADLINE_S, fresh=True, tls=tls) as fresh,
        open_loop(url, "quick", DEADLINE_S, tls=tls) as kept,
    ):
        fresh.rate = kept.rate = 50.0
        await asyncio.sleep(3)
        began = monotonic()
        await asyncio.to_thread(all_new)
        took = monotonic() - began
        await asyncio.sleep(3)
    sent, failed = fresh.sent + kept.sent, fresh.failed + kept.failed
    figure(f"{sent} requests, {len(failed)} failed; new certificates in all pods after {took:.1f} s")
    assert not failed
    assert sent > 500
    assert all(pod.restarts == 0 for tier in TIERS for pod in hub.pods(tier))
