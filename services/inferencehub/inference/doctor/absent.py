"""What the command `doctor` looks at where the inference service does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.process.doctor.absent import of_named_files, of_own_port
from inferencehub.core.process.doctor.command import Tier
from inferencehub.core.process.doctor.doctor import Check
from inferencehub.core.process.doctor.finding import Finding, fault, ok
from inferencehub.core.process.doctor.process import of_limits
from inferencehub.core.process.settings import ProcessSettings, SettingError
from inferencehub.inference.doctor.checks import REPAIR, of_source
from inferencehub.inference.models.repository import scan
from inferencehub.inference.settings import InferenceSettings


def checks(settings: ProcessSettings) -> Mapping[str, Check]:
    """The checks for these settings."""
    assert isinstance(settings, InferenceSettings)

    async def files() -> list[Finding]:
        return of_named_files(
            {
                "HUB_TIER_TLS": lambda: settings.tier_certificate(admits=settings.tier_tls_client_names),
                "HUB_API_KEYS": lambda: (
                    ApiKeys(settings.api_keys, "HUB_API_KEYS") if settings.direct_calls else None
                ),
                "HUB_GATEWAY_TLS": settings.gateway_certificate,
            }
        )

    async def models() -> list[Finding]:
        return await asyncio.to_thread(of_repository, settings)

    async def port() -> list[Finding]:
        return await of_own_port("PORT", settings.port)

    async def limits() -> list[Finding]:
        return await of_limits(settings.queue_bytes)

    return {"files": files, "models": models, "port": port, "limits": limits}


def of_repository(settings: InferenceSettings) -> list[Finding]:
    """Whether there is a repository, and what in it can't be read; nothing is loaded."""
    try:
        found = scan(settings.repository())
    except SettingError as error:
        return [fault("HUB_MODELS", str(error), "Is the volume mounted, and is HUB_MODELS its path?")]
    broken = [fault(f"model {one.name}", one.reason, REPAIR) for one in found if one.reason]
    readable = ok("models", f"the repository '{settings.repository()}' has {len(found)}, which can be read")
    return [*(broken or [readable]), *of_source(settings.repository())]


TIER = Tier("inference", InferenceSettings, checks)
