"""The page at /docs, and what a browser may do with it: run its own script and style, and call the server it came from.

The policy names script and style by their digests, so nothing that gets into the page otherwise is run, and a key that
was typed into it goes to no other server. Sources: CSP Level 3; HTML Standard (Cross-Origin-Opener-Policy).
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def docs_page() -> tuple[str, dict[str, str]]:
    """The page as HTML, and the headers that belong to it."""
    html = files(__package__).joinpath("docs.html").read_text()
    return html, {
        "content-security-policy": policy(html),
        "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }


def policy(html: str) -> str:
    """A content security policy that allows what stands in the page, and calls to its own origin."""
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in INLINE.findall(html):
        digests[kind].append(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'")
    return "; ".join(
        [
            "default-src 'none'",
            *[f"{kind}-src {' '.join(found)}" for kind, found in digests.items()],
            "connect-src 'self'",
            "img-src data:",  # its icon, which is empty
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ]
    )
