"""Runs a tier that counts its own calls: `python -m bench.guard.counted gateway|inference FILE`.

It counts every call of a Python function, and of a C function from Python, in every thread that Python starts. A thread
that is not counted writes the count into FILE ten times a second. Counting is slow, so times mean nothing here.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any

EVERY_S = 0.1
COUNTED = frozenset(("call", "c_call"))
count = 0


def note(frame: FrameType, event: str, argument: Any) -> None:
    """The profile function."""
    global count
    if event in COUNTED:
        count += 1


def tell(file: Path) -> None:
    """Write the count to the file, again and again. Each write is atomic, so a reader never sees half a number."""
    while True:
        whole = file.with_suffix(".new")
        whole.write_text(str(count))
        os.replace(whole, file)
        sleep(EVERY_S)


def main() -> None:
    """Run the tier as its own command would."""
    tier, file = sys.argv[1:]
    threading.Thread(target=tell, args=(Path(file),), daemon=True).start()
    threading.setprofile(note)
    sys.setprofile(note)
    sys.argv = [f"inferencehub.{tier}"]
    runpy.run_module(f"inferencehub.{tier}", run_name="__main__")


if __name__ == "__main__":
    main()
