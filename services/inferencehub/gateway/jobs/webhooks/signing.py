"""Signatures of webhooks, as Standard Webhooks says (github.com/standard-webhooks/standard-webhooks, spec of 2023).

The receiver has the same secret. While secrets change, all of them sign, so that a receiver may have any of them.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence

from inferencehub.core.files.watched import BadFile, WatchedFiles

SETTING = "HUB_WEBHOOK_SECRET"
PREFIX = "whsec_"
SIZES = (24, 64)  # bytes of a secret, as the specification says
MOST = 8  # secrets


class Secrets(WatchedFiles):
    """The file of secrets, one a line, the newest first.

    Args:
        file: its path.

    Raises:
        BadFile: if it can't be used.
    """

    def __init__(self, file: str) -> None:
        self.all: list[bytes] = []
        super().__init__(SETTING, {SETTING: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        self.all = secrets_of(contents[0])


def secrets_of(text: bytes) -> list[bytes]:
    """The secrets of a file. Errors do not show them.

    Raises:
        BadFile: if one is no secret, or there is none, or too many.
    """
    lines = [line.strip() for line in text.decode("latin-1").splitlines() if line.strip()]
    if not 1 <= len(lines) <= MOST:
        raise BadFile(f"{SETTING} names a file with {len(lines)} secrets, expected 1 to {MOST}, one a line")
    secrets = []
    for number, line in enumerate(lines, 1):
        try:
            secret = b64decode(line.removeprefix(PREFIX), validate=True)
        except (Error, ValueError):
            secret = b""
        least, most = SIZES
        if not line.startswith(PREFIX) or not least <= len(secret) <= most:
            raise BadFile(
                f"{SETTING} names a file whose secret {number} is none, expected {PREFIX} and {least} to {most} bytes "
                "in base64"
            )
        secrets.append(secret)
    return secrets


def signed(secrets: Sequence[bytes], id: str, now: float, body: bytes) -> dict[str, str]:
    """The headers of a message.

    Args:
        secrets: each makes a signature.
        id: of the message; the same at each attempt.
        now: Unix time in seconds.
        body: the bytes that are sent.
    """
    text = b"%b.%d.%b" % (id.encode(), int(now), body)
    signatures = [b64encode(hmac.digest(secret, text, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
