"""What the command `doctor` looks at where the scaler does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from inferencehub.core.process.doctor.absent import of_own_port, of_target
from inferencehub.core.process.doctor.command import Tier
from inferencehub.core.process.doctor.doctor import Check
from inferencehub.core.process.doctor.finding import Finding, fault, ok
from inferencehub.core.process.doctor.process import of_limits
from inferencehub.core.process.settings import ProcessSettings
from inferencehub.scaler.settings import ScalerSettings


def checks(settings: ProcessSettings) -> Mapping[str, Check]:
    """The checks for these settings."""
    assert isinstance(settings, ScalerSettings)

    async def credentials() -> list[Finding]:
        folder = Path(settings.credentials)
        missing = [name for name in ("token", "ca.crt") if not (folder / name).is_file()]
        if missing:
            fix = "The pod needs automountServiceAccountToken, which the chart sets; else HUB_CREDENTIALS names the folder."
            return [fault("HUB_CREDENTIALS", f"'{folder}' has no {' and no '.join(missing)}", fix)]
        return [ok("HUB_CREDENTIALS", f"'{folder}' has a token and the authority")]

    async def kubernetes() -> list[Finding]:
        parts = urlsplit(settings.kubernetes_url)
        return [await of_target("HUB_KUBERNETES_URL", f"{parts.hostname}:{parts.port or 443}")]

    async def port() -> list[Finding]:
        return await of_own_port("PORT", settings.port)

    return {"credentials": credentials, "Kubernetes": kubernetes, "port": port, "limits": of_limits}


TIER = Tier("scaler", ScalerSettings, checks)
