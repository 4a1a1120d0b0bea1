"""S3 and what speaks its protocol: lists objects and signs URLs for them. `download.py` reads them as any other URL.

botocore is the core of AWS' own client: it finds credentials in all the usual places (environment, web identity of a
service account, pod identity), and the variables AWS_ENDPOINT_URL, AWS_REGION and AWS_CA_BUNDLE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from inferencehub.inference.fetch.rules import FetchError, Patience
from inferencehub.inference.fetch.uri import ModelUri

SIGNED_S = 3600  # how long a signed URL works; each attempt signs anew
MOST_OBJECTS = 100_000


class Listed(NamedTuple):
    """An object: its key, and its size in bytes."""

    key: str
    size: int


class Bucket:
    """A bucket.

    Args:
        uri: an s3:// URI.
        patience: how often to try.

    Raises:
        FetchError: if botocore is not installed, or a setting of its own is wrong.
    """

    def __init__(self, uri: ModelUri, patience: Patience) -> None:
        try:
            import botocore.config
            import botocore.exceptions
            import botocore.session
        except ImportError:
            raise FetchError(
                "s3:// needs botocore, which this image does not have: build it with `--build-arg EXTRAS=s3`, "
                "or use an https:// URI"
            ) from None
        self.uri = uri
        self._errors: type[Exception] = botocore.exceptions.BotoCoreError
        self._refusals: type[Exception] = botocore.exceptions.ClientError
        config = botocore.config.Config(
            signature_version="s3v4",
            connect_timeout=patience.stall_s,
            read_timeout=patience.stall_s,
            retries={"mode": "standard", "total_max_attempts": patience.attempts},
        )
        try:
            self._client: Any = botocore.session.get_session().create_client("s3", config=config)
        except (self._errors, ValueError) as error:
            raise self._failed(error) from None

    def objects(self) -> Iterator[Listed]:
        """All objects below the URI's key, but those that stand for folders.

        Raises:
            FetchError: if they cannot be listed.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.uri.bucket, Prefix=self.uri.path
        )
        try:
            for page in pages:
                for one in page.get("Contents", ()):
                    if not one["Key"].endswith("/"):
                        yield Listed(one["Key"], one["Size"])
        except (self._errors, self._refusals) as error:
            raise self._failed(error) from None

    def signed(self, key: str) -> str:
        """A URL that reads an object.

        Raises:
            FetchError: if there are no credentials.
        """
        try:
            url: str = self._client.generate_presigned_url(
                "get_object", {"Bucket": self.uri.bucket, "Key": key}, SIGNED_S
            )
        except (self._errors, self._refusals) as error:
            raise self._failed(error) from None
        return url

    def _failed(self, error: Exception) -> FetchError:
        if type(error).__name__ == "NoCredentialsError":
            return FetchError(
                f"{self.uri.shown()}: there are no credentials, expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                "(models.secretName) or an identity of the service account; for a public bucket use its https:// URL"
            )
        return FetchError(f"{self.uri.shown()}: {str(error).rstrip('.')}")
