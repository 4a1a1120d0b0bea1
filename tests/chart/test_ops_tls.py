"""TLS at the ops port by the chart: files, probes, Services, and that Prometheus and KEDA get in as the chart tells them."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from inferencehub.core.process.ops_port import OpsServer
from inferencehub.core.process.scrape.written import Registry
from inferencehub.core.process.settings import read_settings
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.settings import ScalerSettings
from tests.authority import Authority, Secret, client
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Object, environ, of_kind, one, render, texts
from tests.gateway.raw import request

READ: dict[str, Any] = {
    "gateway": GatewaySettings,
    "inference": InferenceSettings,
    "scaler": ScalerSettings,
}
SECURE = {"tls-of-ops": "ops", "tls-of-ops-by-cert-manager": "hub-inferencehub-ops-tls"}


@pytest.mark.parametrize("name", SECURE)
def test_each_process_has_the_files_of_one_secret(name: str) -> None:
    found = {}
    for deployment in of_kind(render(COMBINATIONS[name]), "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        settings = read_settings(READ[container["name"]], environ(pod))
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "ops-tls"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "ops-tls"]
        assert "subPath" not in mount, "such a file would never change"
        files = [settings.ops_tls_cert, settings.ops_tls_key, settings.ops_tls_ca]
        assert files == [f"{mount['mountPath']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")]
        found[container["name"]] = volume["secret"]["secretName"]
    assert found == dict.fromkeys(READ, SECURE[name])


def test_without_a_secret_nothing_speaks_tls() -> None:
    objects = render(COMBINATIONS["scaled-by-keda"])
    assert "ops-tls" not in str(objects)
    assert "OPS_TLS" not in str(objects)


def ops_ports(name: str) -> list[Object]:
    """The ops ports of all Services."""
    services = of_kind(render(COMBINATIONS[name]), "Service")
    return [port for service in services for port in service["spec"]["ports"] if port["name"] == "ops"]


@pytest.mark.parametrize("name", SECURE)
def test_scalers_read_in_a_service_that_its_port_speaks_tls(name: str) -> None:
    assert [port["appProtocol"] for port in ops_ports(name)] == ["https"] * 4
    assert all("appProtocol" not in port for port in ops_ports("scaled-by-keda"))


def entries(chosen: Object, secret: Secret) -> dict[str, Path]:
    """The files of the Secret that fields of a monitor, or parameters of KEDA, name."""
    return {field: secret.directory / entry["key"] for field, entry in chosen.items()}


async def read(port: int, name: str, files: dict[str, Path]) -> bytes:
    """The first line of an answer to who knows the server by this name, trusts and shows these files."""
    tls = client(files["ca"].read_text(), (files["cert"], files["key"]))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    writer.write(request("GET", "/metrics", b""))
    line = await reader.readline()
    writer.close()
    return line


async def test_prometheus_and_keda_get_in_as_they_are_told(tmp_path: Path) -> None:
    """With a certificate that has the names that the notes tell, and no other."""
    objects, notes = render(COMBINATIONS["tls-of-ops"]), texts(COMBINATIONS["tls-of-ops"])["NOTES.txt"]
    names = notes.split("certificate of the ops ports must have these DNS names")[1].split("\n\n")[1].split()
    authority, secret = Authority(tmp_path, "ops"), Secret(tmp_path / "secret")
    extensions = (
        f"subjectAltName = {', '.join(f'DNS:{name}' for name in names)}\nauthorityKeyIdentifier = keyid\n"
    )
    secret.hold(*authority.signed("pods", extensions), authority)

    (endpoint,) = of_kind(objects, "PodMonitor")[0]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    tls = endpoint["tlsConfig"]
    shown = {"ca": tls["ca"]["secret"], "cert": tls["cert"]["secret"], "key": tls["keySecret"]}
    (trigger,) = of_kind(objects, "ScaledObject")[0]["spec"]["triggers"]
    (authentication,) = of_kind(objects, "TriggerAuthentication")
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    assert trigger["metadata"]["authMode"] == "tls"
    parameters = {entry["parameter"]: entry for entry in authentication["spec"]["secretTargetRef"]}
    assert {entry["name"] for entry in [*shown.values(), *parameters.values()]} == {"ops"}
    url = urlsplit(trigger["metadata"]["url"])
    assert url.scheme == "https"

    certificate = OpsCertificate(*secret.ops_settings.values())
    server = OpsServer(0, Registry(), lambda: "", {}, certificate=certificate)
    await server.start()
    for name, chosen in ((tls["serverName"], shown), (url.hostname, parameters)):
        assert (await read(server.port, name, entries(chosen, secret))).startswith(b"HTTP/1.1 200")
    with pytest.raises(ssl.SSLCertVerificationError):
        await read(server.port, "hub-inferencehub-gateway", entries(shown, secret))
    await server.stop(0)


def test_cert_manager_makes_a_certificate_with_these_names_for_both_sides() -> None:
    objects = render(COMBINATIONS["tls-of-ops-by-cert-manager"])
    (made,) = [one for one in of_kind(objects, "Certificate") if one["metadata"]["name"].endswith("-ops-tls")]
    spec = made["spec"]
    assert (spec["secretName"], spec["issuerRef"]) == ("hub-inferencehub-ops-tls", {"name": "ops"})
    assert spec["dnsNames"] == ["hub-inferencehub-ops.ml.svc", "hub-inferencehub-scaler.ml.svc"]
    assert {"server auth", "client auth"} <= set(spec["usages"])
    (endpoint,) = one(objects, "ServiceMonitor", "")["spec"]["endpoints"]
    assert endpoint["tlsConfig"]["serverName"] in spec["dnsNames"]
