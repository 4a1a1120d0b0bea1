"""The files of certificates between the tiers: what is refused, and what may stand in them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from tests.authority import Authority
from tests.hub import eventually
from tests.inference.pod_processes import features, infer_of
from tests.tier_tls.secure_tiers import GATEWAY, Secrets, refusals, secure_channel, secure_pod


@pytest.mark.parametrize("missing", ["tier_tls_cert", "tier_tls_key", "tier_tls_ca"])
@pytest.mark.parametrize("settings", [GatewaySettings, InferenceSettings])
def test_half_of_the_files_is_refused(secrets: Secrets, settings: Any, missing: str) -> None:
    given = {**secrets.gateway.tier_settings, missing: ""}
    with pytest.raises(SettingError) as caught:
        settings(**given)
    said = "HUB_TIER_TLS_CERT, HUB_TIER_TLS_KEY and HUB_TIER_TLS_CA belong together, expected all or none"
    assert str(caught.value) == said


def test_authorities_that_are_none_end_the_start_with_a_sentence(secrets: Secrets, tmp_path: Path) -> None:
    given = secrets.gateway.tier_settings
    (tmp_path / "front" / "empty").touch()
    for file, said in (
        ("tls.key", "HUB_TIER_TLS_CA ({}) cannot be used, expected certificates as PEM: "),
        (
            "empty",
            "HUB_TIER_TLS_CA ({}) cannot be used, expected certificates as PEM: Empty certificate data",
        ),
        ("none", "HUB_TIER_TLS_CA names {}, which cannot be read: No such file or directory"),
    ):
        given["tier_tls_ca"] = str(tmp_path / "front" / file)
        with pytest.raises(BadFile) as caught:
            Gateway(GatewaySettings(**given))
        assert said.format(given["tier_tls_ca"]) in str(caught.value)


@pytest.mark.parametrize("comment", ["# Główny urząd\n".encode(), b"\xe9\n"])
async def test_a_comment_beside_the_authorities_may_be_anything(
    models: Path, secrets: Secrets, authority: Authority, comment: bytes
) -> None:
    async with secure_pod(models, secrets) as pod:
        file = secrets.inference.directory / "..data" / "ca.crt"
        await asyncio.to_thread(file.write_bytes, comment + authority.certificate.read_bytes())
        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        async with secure_channel(pod, authority, authority.signed(GATEWAY)) as channel:
            assert (await infer_of(channel)(features("quick", 1.0, id="7"))).id == "7"


async def test_an_empty_file_of_authorities_opens_no_door(
    models: Path, secrets: Secrets, authority: Authority
) -> None:
    """Nobody must show a certificate where nobody is trusted: so it is not used, and the last one holds."""
    async with secure_pod(models, secrets) as pod:
        file = secrets.inference.directory / "..data" / "ca.crt"
        await asyncio.to_thread(file.write_bytes, b"")
        await eventually(lambda: pod.certificate is not None and pod.certificate.refused)
        async with secure_channel(pod, authority, None) as channel:
            assert {code for code, _ in (await refusals(channel)).values()} == {"UNAVAILABLE"}
        async with secure_channel(pod, authority, authority.signed(GATEWAY)) as channel:
            assert (await infer_of(channel)(features("quick", 1.0, id="7"))).id == "7"
