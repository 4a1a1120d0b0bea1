"""What the command `doctor` looks at where the gateway does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.process.doctor.absent import of_named_files, of_own_port, of_target
from inferencehub.core.process.doctor.command import Tier
from inferencehub.core.process.doctor.doctor import Check
from inferencehub.core.process.doctor.finding import Finding
from inferencehub.core.process.doctor.process import of_limits
from inferencehub.core.process.settings import ProcessSettings
from inferencehub.gateway.settings.gateway import GatewaySettings


def checks(settings: ProcessSettings) -> Mapping[str, Check]:
    """The checks for these settings."""
    assert isinstance(settings, GatewaySettings)
    stored = bool(settings.jobs)

    def store() -> None:
        settings.jobs_url()

    async def files() -> list[Finding]:
        keys, limits = settings.api_keys, settings.limits
        return of_named_files(
            {
                "HUB_TLS": settings.certificate,
                "HUB_TIER_TLS": lambda: settings.tier_certificate(calls=settings.tier_tls_server_name),
                "HUB_API_KEYS": lambda: ApiKeys(keys, "HUB_API_KEYS", stored) if keys else None,
                "HUB_LIMITS": lambda: LimitsFile(limits, "HUB_LIMITS", stored) if limits else None,
                "HUB_JWT_KEYS": settings.tokens,
                "HUB_JOBS": store,
            }
        )

    async def pods() -> list[Finding]:
        return list(await asyncio.gather(*[of_target("GRPC_SERVER_URL", one) for one in settings.backends]))

    async def ports() -> list[Finding]:
        found = [of_own_port("PORT", settings.port), of_own_port("HUB_GRPC_PORT", settings.grpc_port)]
        return [one for part in await asyncio.gather(*found) for one in part]

    async def limits() -> list[Finding]:
        return await of_limits(settings.queue_bytes, settings.max_connections)

    return {"files": files, "pods": pods, "ports": ports, "limits": limits}


TIER = Tier("gateway", GatewaySettings, checks)
