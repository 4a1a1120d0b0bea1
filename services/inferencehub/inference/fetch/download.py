"""One file over HTTP: with attempts, from where it broke, and never beyond its budget.

urllib of the standard library, so the image needs nothing for it; it follows the usual variables of proxies
(HTTPS_PROXY, NO_PROXY) and SSL_CERT_FILE.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import random
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from inferencehub.inference.fetch.rules import Budget, FetchError, Patience
from inferencehub.inference.fetch.uri import shown

logger = logging.getLogger(__name__)

CHUNK = 2**20
# Those that another attempt may change: RFC 9110, section 15, and 429 of RFC 6585.
PASSING = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
S3_CODE = re.compile(rb"<Code>(\w+)</Code>")


class Passing(Exception):
    """An attempt failed in a way that another one may not; `wanted_s` are seconds that the server asks for."""

    def __init__(self, sentence: str, wanted_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.wanted_s = wanted_s


@dataclass
class Partial:
    """A file that is on its way.

    Args:
        file: where it is written.
        etag: the strong validator of what has come (RFC 9110, section 8.8.3); "" without one.
    """

    file: Path
    received: int = 0
    etag: str = ""
    digest: Any = field(default_factory=hashlib.sha256)

    def restart(self, budget: Budget) -> None:
        """Throw away what has come."""
        budget.give_back(self.received)
        self.received, self.etag, self.digest = 0, "", hashlib.sha256()
        self.file.unlink(missing_ok=True)


def download(
    url: Callable[[], str], file: Path, budget: Budget, patience: Patience, headers: Mapping[str, str]
) -> str:
    """Fetch a file.

    Args:
        url: gives the URL for each attempt: a signed one ends.
        file: where to write it.
        budget: what the whole fetch may take.
        patience: how often to try.
        headers: for this server alone: a redirect to another one does not carry them.

    Returns:
        The sha256 of its bytes, in hexadecimal.

    Raises:
        FetchError: if it cannot be had, or is too large.
        OSError: if it cannot be written.
    """
    partial = Partial(file)
    failed = 0
    while True:
        before = partial.received
        try:
            receive(url(), partial, budget, patience.stall_s, headers)
        except Passing as error:
            failed = 0 if partial.received > before else failed + 1
            if failed >= patience.attempts:
                raise FetchError(f"{error}, {failed} times in a row") from None
            pause = patience.pause(failed, error.wanted_s) * random.uniform(1, 1.25)
            logger.warning(
                "trying again",
                extra={"reason": str(error), "bytes": partial.received, "pause_s": round(pause, 1)},
            )
            budget.wait(pause)
        else:
            digest: str = partial.digest.hexdigest()
            return digest


def receive(url: str, partial: Partial, budget: Budget, stall_s: float, headers: Mapping[str, str]) -> None:
    """One attempt: from where the last one ended, if the server can do that, or from the beginning.

    Raises:
        Passing: if it broke.
        FetchError: as `download`.
    """
    request = Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "inferencehub"})
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    if partial.received and partial.etag:
        request.add_header("Range", f"bytes={partial.received}-")
        request.add_header("If-Range", partial.etag)
    try:
        response = opener().open(request, timeout=stall_s)
    except HTTPError as error:
        with error:
            raise refused(url, error, partial, budget) from None
    except (OSError, http.client.HTTPException) as error:
        raise broken(url, error) from None
    except ValueError as error:
        raise FetchError(f"{shown(url)} redirects to what is no URL: {error}") from None
    with response:
        total = begin(response, partial, budget)
        if total is not None:
            budget.expect(total - partial.received)
        copy(response, url, partial, budget)
    if total is not None and partial.received != total:
        raise Passing(f"{shown(url)} ended after {partial.received} of {total} bytes")


def begin(response: Any, partial: Partial, budget: Budget) -> int | None:
    """Find out where the answer begins; returns the bytes of the whole file, None if the server does not say."""
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 206:
        if found is None or int(found[1]) != partial.received:
            partial.restart(budget)
            raise Passing("the server gave another part of the file than the one it was asked for")
        return None if found[2] == "*" else int(found[2])
    if partial.received:
        partial.restart(budget)
    etag = response.headers.get("ETag", "")
    partial.etag = "" if etag.startswith("W/") else etag
    length: int | None = response.length
    return length


def copy(response: Any, url: str, partial: Partial, budget: Budget) -> None:
    """Write what comes."""
    with partial.file.open("ab") as file:
        while True:
            try:
                chunk = response.read1(
                    CHUNK
                )  # what has come: a slow server must not hold up the look at the time
            except (OSError, http.client.HTTPException) as error:
                raise broken(url, error) from None
            if not chunk:
                return
            budget.take(len(chunk), "downloading")
            file.write(chunk)
            partial.digest.update(chunk)
            partial.received += len(chunk)


def refused(url: str, error: HTTPError, partial: Partial, budget: Budget) -> Exception:
    """What an answer with an error means."""
    if error.code == 416 and partial.received:  # the file is another one by now, and shorter
        partial.restart(budget)
        return Passing(f"{shown(url)} has changed while it was read")
    try:
        code = S3_CODE.search(error.read(2**12))
    except (OSError, http.client.HTTPException):
        code = None
    sentence = f"{shown(url)} answers {error.code} {error.reason}" + (
        f" ({code[1].decode()})" if code else ""
    )
    if error.code in PASSING:
        wanted = error.headers.get("Retry-After", "")
        return Passing(sentence, float(wanted) if wanted.isdecimal() else 0.0)
    if error.code in (401, 403):
        sentence += ": the credentials are missing or may not read it (models.secretName)"
    return FetchError(sentence)


def broken(url: str, error: Exception) -> Exception:
    """What an error of a connection means."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchError(
            f"{shown(url)} shows a certificate that is not trusted: {reason.verify_message} (models.fetch.caConfigMap)"
        )
    text = str(reason) or type(reason).__name__
    return Passing(f"{shown(url)} cannot be reached or broke off: {text}")


def opener() -> OpenerDirector:
    """What opens http and https, and nothing else, such as file: behind a redirect."""
    director = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        Redirects(),
    ):
        director.add_handler(handler)
    return director


class Redirects(HTTPRedirectHandler):
    """Follows redirects, but never from https to http, and takes credentials to no other server."""

    max_redirections = 5

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("https", old.scheme):
            raise FetchError(f"{shown(req.full_url)} redirects to {shown(newurl)}, expected https")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if following is not None and origin(old) == origin(new):
            for name, value in req.unredirected_hdrs.items():
                if name == "Authorization":
                    following.add_unredirected_header(name, value)
        return following


def origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of a URL (RFC 6454)."""
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)
