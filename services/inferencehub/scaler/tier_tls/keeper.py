"""Keeps the certificates of the tiers in Secrets, which the chart renders empty, so that no upgrade overwrites them.

All replicas do the same, without a leader: what they write follows from what they have read. If a write fails because the
Secret has a newer version, all Secrets are read again. They are only read and updated, never created or deleted: a right
to create Secrets can't be limited to names.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from inferencehub.scaler.issuing import Pair
from inferencehub.scaler.kube import Kube, KubeError, Object
from inferencehub.scaler.settings import ScalerSettings
from inferencehub.scaler.tier_tls.rotation import PEM, Contents, next_authority, next_contents

logger = logging.getLogger(__name__)

CHANGED = "inferencehub/changed"  # annotation of a tier's Secret: when this process wrote it
SHOWN, KEY, TRUSTED = "tls.crt", "tls.key", "ca.crt"


class TierCertificates:
    """The certificates of both tiers and their authority.

    Args:
        kube: the Kubernetes API.
        settings: the scaler's settings, with an authority's Secret.
        look_s: seconds between two looks at the Secrets.

    `ends` says when each certificate ends: "authority", and the name of each tier.
    """

    def __init__(self, kube: Kube, settings: ScalerSettings, look_s: float) -> None:
        self.kube = kube
        self.look_s = look_s
        self.settle = timedelta(seconds=settings.tier_settle_s)
        self.authority = settings.authority_secret
        self.certificates = settings.certificates()
        self.release, self.path = settings.release, f"/api/v1/namespaces/{settings.namespace}/secrets/"
        self.ends: dict[str, datetime] = {}
        self._silent = False

    async def keep(self) -> None:
        """Look at the Secrets, again and again, and write what is missing or due. It never ends."""
        while True:
            try:
                while await self._step():
                    pass
                self._silent = False
            except KubeError as error:
                if not self._silent:
                    logger.warning("certificates of the tiers not kept", extra={"error": str(error)})
                self._silent = True
            await asyncio.sleep(self.look_s)

    async def _step(self) -> bool:
        """Write what is due now; whether to look again at once, after a new authority or a change by another replica."""
        secret = await self._read(self.authority)
        held, now = pair_in(secret), datetime.now(UTC)
        authority = next_authority(held, f"{self.release} tiers", now)
        if authority != held:
            self._note("authority", authority)
            if await self._write(self.authority, secret, pair_data(authority)):
                logger.info("authority of the tiers made", extra={"ends": self._end("authority")})
            return True
        secrets = {tier: await self._read(kept.secret) for tier, kept in self.certificates.items()}
        contents = {tier: contents_in(secret) for tier, secret in secrets.items()}
        names = {tier: kept.name for tier, kept in self.certificates.items()}
        wanted = next_contents(authority, contents, names, now, self.settle)
        self._note("authority", authority)
        for tier, next_one in wanted.items():
            self._note(tier, next_one.shown)
            if next_one == contents[tier]:
                continue
            if not await self._write(self.certificates[tier].secret, secrets[tier], data_of(next_one), now):
                return True
            made, count = next_one.shown != contents[tier].shown, len(next_one.trusted)
            extra = {"tier": tier, "ends": self._end(tier), "new": made, "authorities": count}
            logger.info("certificate of a tier written", extra=extra)
        return False

    async def _read(self, name: str) -> Object:
        return await self.kube.call("GET", self.path + name)

    async def _write(
        self, name: str, secret: Object, data: dict[str, str], at: datetime | None = None
    ) -> bool:
        """Write a Secret; False if it has changed since it was read."""
        meta = dict(secret["metadata"])
        if at is not None:
            meta["annotations"] = {**(meta.get("annotations") or {}), CHANGED: at.isoformat()}
        changed = {**secret, "metadata": meta, "data": {**(secret.get("data") or {}), **data}}
        try:
            await self.kube.call("PUT", self.path + name, changed)
        except KubeError as error:
            if error.status != 409:
                raise
            return False
        return True

    def _note(self, which: str, pair: Pair) -> None:
        found = pair.read()
        if found is not None:
            self.ends[which] = found.not_valid_after_utc

    def _end(self, which: str) -> str:
        return self.ends[which].isoformat()


def text_in(secret: Object, name: str) -> str:
    """An entry of a Secret; "" if there is none."""
    return b64decode((secret.get("data") or {}).get(name) or "").decode(errors="replace")


def pair_in(secret: Object) -> Pair:
    """The certificate and key in a Secret, which may be empty."""
    return Pair(text_in(secret, SHOWN), text_in(secret, KEY))


def contents_in(secret: Object) -> Contents:
    """What a tier's Secret holds, which may be nothing."""
    changed = None
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        changed = datetime.fromisoformat(secret["metadata"]["annotations"][CHANGED]).astimezone(UTC)
    return Contents(pair_in(secret), tuple(PEM.findall(text_in(secret, TRUSTED))), changed)


def pair_data(pair: Pair) -> dict[str, str]:
    """A certificate and its key as entries of a Secret."""
    return {SHOWN: encoded(pair.certificate), KEY: encoded(pair.key)}


def data_of(contents: Contents) -> dict[str, str]:
    """The entries of a tier's Secret."""
    return {**pair_data(contents.shown), TRUSTED: encoded("".join(contents.trusted))}


def encoded(text: str) -> str:
    """A text as Secrets have it."""
    return b64encode(text.encode()).decode()
