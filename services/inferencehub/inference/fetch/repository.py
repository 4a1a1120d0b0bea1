"""From a URI to a model repository on the disk, whole or not at all.

    <parent>/<name>/             the repository, renamed to this name once it is whole
    <parent>/<name>/_fetched.json  what it was made from
    <parent>/.<name>.<host>.<pid>.fetching/  one that is on its way

Several pods may share <parent>: each works in a directory of its own, and the first that is whole stays.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from inferencehub.inference.fetch.archive import unpack
from inferencehub.inference.fetch.download import download
from inferencehub.inference.fetch.mark import MARK, marked, write_mark
from inferencehub.inference.fetch.paths import Paths
from inferencehub.inference.fetch.rules import Budget, FetchError, Patience
from inferencehub.inference.fetch.s3 import MOST_OBJECTS, Bucket
from inferencehub.inference.fetch.tree import tree_sha256
from inferencehub.inference.fetch.uri import ModelUri
from inferencehub.inference.models.repository import is_model, is_version

logger = logging.getLogger(__name__)

ON_ITS_WAY = ".fetching"
ABANDONED_S = 600.0  # a directory on its way is touched every few seconds while its process lives


def fetch(
    uri: ModelUri, target: Path, budget: Budget, patience: Patience, headers: Mapping[str, str]
) -> bool:
    """Make a model repository at `target`; nothing if it is there already.

    Args:
        uri: where the models are.
        target: the directory to make. It stands for this URI alone: a new URI needs a new one.
        budget: what it may take.
        patience: how often to try.
        headers: credentials for https.

    Returns:
        Whether something was fetched.

    Raises:
        FetchError: if it cannot be made.
        OSError: if a file cannot be written.
    """
    if (target / MARK).exists():
        must_be(target, uri)
        os.utime(target)
        return False
    part = target.parent / f".{target.name}.{socket.gethostname()}.{os.getpid()}{ON_ITS_WAY}"
    shutil.rmtree(part, ignore_errors=True)  # of this container before it was restarted
    part.mkdir(parents=True)
    try:
        clear(part)
        budget.alive = lambda: os.utime(part)
        tree = part / "tree"
        sha256 = bring(uri, part, tree / uri.model, budget, patience, headers)
        check(tree)
        write_mark(tree, uri.shown(), sha256)
        keep(tree)
        publish(tree, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def bring(
    uri: ModelUri, part: Path, into: Path, budget: Budget, patience: Patience, headers: Mapping[str, str]
) -> str:
    """Fetch what a URI names and check it; returns its sha256."""
    into.mkdir(parents=True)
    bucket = Bucket(uri, patience) if uri.scheme == "s3" else None
    if bucket is not None and uri.is_tree:
        return bring_tree(bucket, into, budget, patience)
    file = part / "file"
    url = (lambda: bucket.signed(uri.path)) if bucket is not None else (lambda: uri.url)
    sha256 = download(url, file, budget, patience, {} if bucket is not None else headers)
    compare(uri, sha256)
    if uri.archive:
        unpack(file, uri.archive, into, budget)
        budget.give_back(file.stat().st_size)
        file.unlink()
    else:
        version = into / uri.version
        version.mkdir()
        file.rename(version / f"model{PurePosixPath(uri.path).suffix}")
    return sha256


def bring_tree(bucket: Bucket, into: Path, budget: Budget, patience: Patience) -> str:
    """Fetch all objects below a prefix and check them; returns the sha256 of the tree."""
    listed = []
    for one in bucket.objects():
        listed.append(one)
        if len(listed) > MOST_OBJECTS:
            raise FetchError(f"{bucket.uri.shown()} has more than {MOST_OBJECTS} objects")
    if not listed:
        raise FetchError(f"{bucket.uri.shown()} has no objects")
    budget.expect(sum(one.size for one in listed))
    paths = Paths(into, bucket.uri.shown())
    files = {one.key: paths.file(one.key.removeprefix(bucket.uri.path)) for one in listed}
    sums = {}
    for key, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        path = file.relative_to(into).as_posix()
        sums[path] = download(partial(bucket.signed, key), file, budget, patience, {})
    sha256 = tree_sha256(sums)
    compare(bucket.uri, sha256)
    return sha256


def must_be(target: Path, uri: ModelUri) -> None:
    """Raise `FetchError` if a repository that is there was made from something else than a URI."""
    try:
        came_from, sha256, _ = marked(target)
    except (ValueError, LookupError, TypeError):
        raise FetchError(f"'{target / MARK}' cannot be read: remove '{target}'") from None
    if came_from != uri.shown() or uri.sha256 not in ("", sha256):
        raise FetchError(
            f"'{target}' has the models of {came_from} with the sha256 {sha256} already, expected those of "
            f"{uri.shown()} with {uri.sha256 or 'any'}: remove it, or choose another directory"
        )


def compare(uri: ModelUri, sha256: str) -> None:
    """Raise `FetchError` if what came is not what the URI names."""
    if uri.sha256 and sha256 != uri.sha256:
        raise FetchError(f"{uri.shown()} has the sha256 {sha256}, expected {uri.sha256}")


def check(tree: Path) -> None:
    """Raise `FetchError` if there is no model in a repository; whether it loads is the service's question."""
    directories = [one for one in tree.iterdir() if one.is_dir()]
    if any(is_version(one.name) for one in directories):
        raise FetchError(
            "it is one model, not a repository of models: add '#model=NAME' or '&model=NAME' to the URI"
        )
    models = [one for one in directories if is_model(one.name)]
    if not any(one.is_dir() and is_version(one.name) for model in models for one in model.iterdir()):
        there = sorted(one.relative_to(tree).as_posix() for one in tree.glob("*/*")) or ["nothing"]
        raise FetchError(
            f"there is no model in it, expected <model>/<version>/<file>, and it has {', '.join(there[:5])}"
        )


def keep(tree: Path) -> None:
    """See to it that all files of a repository are on the disk before it gets its name."""
    for file in (one for one in tree.rglob("*") if one.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def publish(tree: Path, target: Path) -> None:
    """Give a whole repository its name; one that another pod has made meanwhile stays."""
    try:
        tree.rename(target)
    except OSError:
        if not (target / MARK).exists():
            raise


def clear(part: Path) -> None:
    """Remove what processes that died have left on the way beside `part`. Times are those of the file system's clock."""
    now = part.stat().st_mtime
    for other in part.parent.glob(f".*{ON_ITS_WAY}"):
        if other != part and now - other.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(other, ignore_errors=True)


def forget(parent: Path, keep: int) -> None:
    """Keep the `keep` repositories of a directory that processes have started with last, and remove the others."""
    used: dict[Path, float] = {}
    for mark in parent.glob(f"*/{MARK}"):
        with suppress(FileNotFoundError):  # another pod has removed it
            used[mark.parent] = mark.parent.stat().st_mtime
    for old in sorted(used, key=lambda one: used[one], reverse=True)[keep:]:
        logger.info("removing models that nothing has started with for long", extra={"directory": str(old)})
        shutil.rmtree(old, ignore_errors=True)
