"""`python -m inferencehub`: the command `inferencehub`; without arguments it is `inferencehub run`."""

from __future__ import annotations

import sys

from inferencehub.cli.__main__ import main

if __name__ == "__main__":
    main(sys.argv[1:] or ["run"])
