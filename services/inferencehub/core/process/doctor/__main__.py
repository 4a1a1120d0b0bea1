"""`inferencehub doctor` in the images, which have one tier each: finds out which, and runs its command.

`python -m inferencehub.gateway doctor`, and the same of the other tiers, is what runs then. The gateway's image has the scaler
too; the first process of a container says which one it is.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_module

RUNS = re.compile(rb"inferencehub\.(gateway|inference|scaler)\b")


def tier_here(proc: Path = Path("/proc")) -> str:
    """The tier of this container; of its image, if its first process is something else."""
    try:
        match = RUNS.search((proc / "1" / "cmdline").read_bytes())
    except OSError:
        match = None
    if match is not None:
        return match[1].decode()
    return "gateway" if find_spec("inferencehub.gateway") else "inference"


def main(arguments: list[str] | None = None) -> None:
    """Run the command of the tier, which ends this process."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] != ["doctor"]:
        sys.stderr.write("inferencehub: in a container there is one command: inferencehub doctor\n")
        sys.exit(2)
    sys.argv[1:] = given
    run_module(f"inferencehub.{tier_here()}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
