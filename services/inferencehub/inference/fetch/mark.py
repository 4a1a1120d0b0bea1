"""What a fetched repository was made from: a file in it, which the doctor reads. Imports nothing that downloads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

MARK = "_fetched.json"


def write_mark(tree: Path, uri: str, sha256: str) -> None:
    """Write down what a repository was made from.

    Args:
        tree: its directory.
        uri: where it was fetched, without what may be a secret.
        sha256: what came, in hexadecimal.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    (tree / MARK).write_text(json.dumps({"uri": uri, "sha256": sha256, "at": at}))


def marked(repository: Path) -> tuple[str, str, str]:
    """The URI and the sha256 of what a repository was made from, and when.

    Raises:
        OSError, ValueError, LookupError, TypeError: if its mark cannot be read.
    """
    mark = json.loads((repository / MARK).read_text())
    return mark["uri"], mark["sha256"], mark["at"]


def read_mark(repository: Path) -> str:
    """A sentence that says what a repository was made from; "" if it was not fetched."""
    try:
        uri, sha256, at = marked(repository)
        return f"fetched from {uri} at {at}, sha256 {sha256}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
