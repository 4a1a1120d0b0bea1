"""Ends processes when the process that started them has died: `python -m bench.servers.watch PID...`.

A paused peer cannot end by itself, and SIGTERM does not end it. If the process that paused it is killed, the pipe to
this program's stdin closes. This program waits for that.
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
