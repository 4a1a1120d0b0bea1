"""The files of the page, and what a browser may do with them: run these scripts, and call the server they came from.

All text goes into the page as text (`require-trusted-types-for`), whatever a model or an error is called. Sources: CSP
Level 3; HTML Standard (Cross-Origin-Opener-Policy).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # the files of two releases must not meet in one page
}
TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript"}
PAGE = "index.html"
# What only the gateway's own port has: the last calls, and models to try.
WHOLE_ONLY = frozenset(("calls.js", "image.js", "inputs.js", "try.js"))


@cache
def static_files() -> dict[str, tuple[str, bytes]]:
    """The files by name: media type and content."""
    found = {}
    for file in files(__package__).joinpath("static").iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            found[file.name] = (f"{kind}; charset=utf-8", file.read_bytes())
    return found
