"""Ends processes whose starter is gone: `python -m bench.servers.watch PID...`, held by a pipe on stdin.

A peer that stands still can neither end by itself nor be ended by a polite signal. Whoever made it stand still may be
killed; the pipe then closes, and that is what this waits for.
"""

from __future__ import annotations

import signal
import sys

from bench.servers.proc import family, signal_all


def main() -> None:
    """Wait for the end of stdin; then end the processes, and all that they started."""
    roots = {int(word) for word in sys.argv[1:]}
    sys.stdin.read()
    signal_all(family(roots), signal.SIGKILL)


if __name__ == "__main__":
    main()
