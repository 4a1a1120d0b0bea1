"""`python -m inferencehub.inference fetch URI --into DIR`: what an init container runs, and the exit code."""

from __future__ import annotations

import base64
import logging
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from inferencehub.core.process.logs import set_up_logs
from inferencehub.inference.fetch.repository import fetch, forget
from inferencehub.inference.fetch.rules import Budget, FetchError, Patience
from inferencehub.inference.fetch.tree import sha256_of
from inferencehub.inference.fetch.uri import parse_uri

logger = logging.getLogger(__name__)

ABOUT = """\
Fetches a model repository, or one model, before the service starts.

  https://HOST/models.tar.gz#sha256=...             an archive (tar, zip) of a model repository
  https://HOST/digits.zip#sha256=...&model=digits   an archive of one model
  https://HOST/churn.onnx#sha256=...&model=churn    one file; &version=7 if it is not 1
  s3://BUCKET/PREFIX/#sha256=...                    all objects below a prefix; s3://BUCKET/KEY as https

From the environment: for https FETCH_TOKEN (a bearer token), or FETCH_USERNAME and FETCH_PASSWORD; for s3 what AWS'
own clients take, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
"""
QUANTITY = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)([KMGTPE]i|[mkMGTPE]|)", re.ASCII)
UNITS: dict[str, Fraction] = {unit: Fraction(1000) ** (i - 1) for i, unit in enumerate(("m", "", *"kMGTPE"))}
UNITS |= {f"{unit}i": Fraction(1024) ** (i + 1) for i, unit in enumerate("KMGTPE")}


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Fetch, or print a checksum.

    Args:
        arguments: see `ABOUT` and `--help`.
        environ: credentials.

    Returns:
        0 if the repository is there, 1 if it cannot be made.
    """
    parser = ArgumentParser(
        "python -m inferencehub.inference fetch",
        description=ABOUT,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("uri", nargs="?", help="where the models are")
    parser.add_argument(
        "--into", type=Path, help="directory to make; nothing is fetched if it is there already"
    )
    parser.add_argument("--size", type=quantity, default=quantity("10Gi"), help="bytes at most, such as 10Gi")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="seconds at most")
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="remove all but the N repositories beside it that were used last",
    )
    parser.add_argument(
        "--message",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="file for a sentence that says why it failed; may be given again",
    )
    parser.add_argument("--log-format", choices=("json", "human"), default="human")
    parser.add_argument(
        "--sha256-of", type=Path, metavar="PATH", help="print the checksum of a file or a tree, no more"
    )
    given = parser.parse_args(arguments)
    if given.sha256_of is not None:
        return print_sha256(given.sha256_of)
    if given.uri is None or given.into is None:
        parser.error("expected a URI and --into")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # process 1 of a container has no default for it
    set_up_logs("inference", given.log_format, "info")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        bring(given.uri, given.into, Budget(given.size, given.timeout), environ)
        if given.keep is not None:
            forget(given.into.parent, max(1, given.keep))
    except (FetchError, OSError) as error:
        sentence = f"The models cannot be fetched: {reason(error)}."
        logger.error(sentence)
        for file in given.message:
            file.write_text(sentence)
        return 1
    return 0


def bring(text: str, into: Path, budget: Budget, environ: Mapping[str, str]) -> None:
    """Fetch, and say so."""
    uri = parse_uri(text)
    headers = credentials(environ)
    logger.info("fetching models", extra={"uri": uri.shown(), "sha256": uri.sha256 or "any"})
    if fetch(uri, into, budget, Patience(), headers):
        logger.info("models were fetched", extra={"directory": str(into), "bytes": budget.used})
    else:
        logger.info("models are there already", extra={"directory": str(into)})


def reason(error: Exception) -> str:
    """Why it failed: what a `FetchError` says, or which file cannot be written, for example on a full disk."""
    if isinstance(error, OSError):
        return f"'{error.filename or 'a file'}' cannot be written: {error.strerror or error}"
    return str(error)


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The headers for https that the environment gives.

    Raises:
        FetchError: if it gives a token and a name, or a name without a password.
    """
    token, name, password = (environ.get(f"FETCH_{what}", "") for what in ("TOKEN", "USERNAME", "PASSWORD"))
    if token and (name or password):
        raise FetchError(
            "there are FETCH_TOKEN and FETCH_USERNAME or FETCH_PASSWORD, expected one or the other"
        )
    if bool(name) != bool(password):
        raise FetchError("FETCH_USERNAME and FETCH_PASSWORD belong together, expected both or none")
    if name:
        packed = base64.b64encode(f"{name}:{password}".encode()).decode()
        return {"Authorization": f"Basic {packed}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def quantity(text: str) -> int:
    """Bytes of a quantity in any form that Kubernetes and Helm write, such as 10Gi, 1.5G or 1e+10.

    Raises:
        ArgumentTypeError: if it is none.
    """
    found = QUANTITY.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"'{text}' is no size, expected one of Kubernetes such as 10Gi")
    return int(Fraction(found[1]) * UNITS[found[2]])


def print_sha256(path: Path) -> int:
    """Print what a URI of this file, or of a prefix with these files, has in `#sha256=`."""
    try:
        sys.stdout.write(f"{sha256_of(path)}\n")
    except OSError as error:
        sys.stderr.write(f"inferencehub: '{error.filename}' cannot be read: {error.strerror}\n")
        return 1
    return 0
