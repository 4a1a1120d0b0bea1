"""What a URI of models says: where they are, what they must be, and where they go in the repository.

    https://models.example.com/models.tar.gz#sha256=9f86…       an archive of a model repository
    https://models.example.com/digits.zip#sha256=…&model=digits  an archive of one model
    https://models.example.com/churn-7.onnx#sha256=…&model=churn&version=7     a model file
    s3://bucket/models/                                         all objects below a prefix

The fragment never goes to the server (RFC 3986, section 3.5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from inferencehub.inference.fetch.rules import FetchError
from inferencehub.inference.models.repository import is_model, is_version

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
SCHEMES = ("https", "http", "s3")
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][-.\w]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A URI of models.

    Args:
        url: it without its fragment.
        sha256: what must come, in hexadecimal: the sha256 of the file, or for a prefix that of its tree
            (`tree.py`); "" takes anything.
        model: the only model that comes; "" for a model repository.
        version: the version of a model that comes as one file.
    """

    url: str
    sha256: str = ""
    model: str = ""
    version: str = "1"

    @property
    def scheme(self) -> str:
        """https, http or s3."""
        return urlsplit(self.url).scheme

    @property
    def path(self) -> str:
        """The path, unquoted; for S3 the key without a slash before it."""
        path = urlsplit(self.url).path
        return path.removeprefix("/") if self.scheme == "s3" else unquote(path)

    @property
    def name(self) -> str:
        """What people would call it: the model, the last part of the path, or the server."""
        return self.model or PurePosixPath(self.path).name or urlsplit(self.url).netloc

    @property
    def bucket(self) -> str:
        """The bucket of S3."""
        return urlsplit(self.url).netloc

    @property
    def is_tree(self) -> bool:
        """Whether it is a prefix of S3, whose objects come one by one."""
        return self.scheme == "s3" and (not self.path or self.path.endswith("/"))

    @property
    def archive(self) -> str:
        """How its name ends if it is an archive, such as ".tar.gz"; "" if it is none."""
        lower = self.path.lower()
        return max((end for end in ARCHIVES if lower.endswith(end)), key=len, default="")

    def shown(self) -> str:
        """The URL for people: a query may hold a signature, so it is left out."""
        return shown(self.url)


def shown(url: str) -> str:
    """A URL without its query, its fragment, and a user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "it"  # no URL, so nobody knows which part of it is a secret
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme and url[len(parts.scheme) :].startswith("://"):
        return f"{parts.scheme}://{host}{parts.path}"  # `urlunsplit` leaves out the slashes of s3:///prefix/
    return urlunsplit(parts._replace(netloc=host, query="", fragment=""))


def parse_uri(text: str) -> ModelUri:
    """Read a URI.

    Raises:
        FetchError: if it is none of those above.
    """
    url, _, fragment = text.partition("#")
    try:
        given = dict(parse_qsl(fragment, strict_parsing=True)) if fragment else {}
        parts = urlsplit(url)
        port = parts.port  # raises ValueError for one that is no number
    except ValueError as error:
        raise FetchError(f"'{shown(url)}' is no URI of models: {error}") from None
    uri = ModelUri(url, given.pop("sha256", "").lower(), given.pop("model", ""), given.pop("version", "1"))
    if uri.scheme == "s3" and not parts.hostname:
        raise FetchError(f"'{shown(url)}' names no bucket, expected s3://bucket/prefix/ or s3://bucket/key")
    if uri.scheme not in SCHEMES or not parts.hostname:
        raise FetchError(f"'{shown(url)}' is no URI of models, expected https://… or s3://…")
    if uri.scheme != "s3" and re.search(r"[\s\x00-\x1f\x7f]", url):
        raise FetchError(f"'{shown(url)}' has a space or a control character, expected %20 and the like")
    if given:
        names = "sha256, model and version"
        raise FetchError(f"'#{next(iter(given))}=' is unknown in a URI of models, expected {names}")
    if "@" in parts.netloc:
        raise FetchError("the URI has a user or a password, expected them in the environment (see --help)")
    if uri.scheme == "s3" and (parts.query or port is not None):
        raise FetchError(f"'{shown(url)}' has a query or a port, expected s3://bucket/key")
    check_fragment(uri)
    return uri


def check_fragment(uri: ModelUri) -> None:
    """Raise `FetchError` if what the fragment says is wrong, or does not go with the rest of the URI."""
    if uri.sha256 and not SHA256.fullmatch(uri.sha256):
        raise FetchError(f"'#sha256={uri.sha256}' is no checksum, expected 64 hexadecimal digits")
    if uri.scheme == "http" and not uri.sha256:
        raise FetchError(
            "over plain http anybody on the way can change models, expected '#sha256=…' or https"
        )
    if uri.model and not (NAME.fullmatch(uri.model) and is_model(uri.model)):
        raise FetchError(
            f"'{uri.model}' cannot be the name of a model, expected letters, digits, '-', '_' and '.'"
        )
    if not is_version(uri.version):
        raise FetchError(f"'{uri.version}' is no version, expected a whole number")
    if uri.is_tree or uri.archive:
        return
    if not PurePosixPath(uri.path).suffix:
        ends = ", ".join(ARCHIVES)
        prefix = f"; a prefix ends with a slash: {uri.shown()}/" if uri.scheme == "s3" else ""
        raise FetchError(
            f"'{uri.shown()}' is neither an archive ({ends}) nor a file such as model.onnx{prefix}"
        )
    if not uri.model:
        raise FetchError(
            f"'{uri.shown()}' is one file, so the model needs a name: add '#model=NAME' or '&model=NAME'"
        )
