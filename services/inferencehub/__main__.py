"""`python -m inferencehub`: the command `inferencehub`; without arguments it is `inferencehub run`."""

from __future__ import annotations

import signal
import sys

# A Ctrl-C while modules are being imported ends the process, without a traceback.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from inferencehub.cli.__main__ import main

if __name__ == "__main__":
    main(sys.argv[1:] or ["run"])
