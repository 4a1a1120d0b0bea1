"""The start of `worker.py` in the interpreter of a model's own environment (`EXECUTION_ENV_PATH`).

`python/process.py` runs this file as `PYTHON start.py FD,… PARENT`. That interpreter gets none of our packages, and no
directory of ours to search: only the package `inferencehub` is made known to it, which needs numpy alone there. An old
interpreter runs this file, too, and can say what is wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import struct
import sys
import traceback

OLDEST = (3, 11)  # as in pyproject.toml
PACKAGE = os.path.abspath(__file__).rsplit(os.sep, 4)[0]


def refused(oldest: tuple[int, int] = OLDEST) -> str:
    """What is wrong with this interpreter, where `oldest` is the oldest version that does; "" if it can run a model."""
    if sys.version_info < oldest:
        came, expected = (".".join(map(str, version[:2])) for version in (sys.version_info, oldest))
        return f"EXECUTION_ENV_PATH: its interpreter is Python {came}, expected {expected} or newer"
    if importlib.util.find_spec("numpy") is None:
        return "EXECUTION_ENV_PATH: numpy is not installed there, and the model's arrays need it"
    try:
        importlib.import_module("numpy")
    except ImportError:  # such as one that was built for another version of Python
        traceback.print_exc()
        return "EXECUTION_ENV_PATH: numpy cannot be imported there; its pod's log says why"
    return ""


def say(fd: int, detail: str) -> None:
    """Send `ModelFailed`, written by hand: `python/channel.py` says how, and an old interpreter cannot import that."""
    text = detail.encode()
    header = b"\x92\xa6failed\xda" + struct.pack(">H", len(text)) + text
    prefix = struct.pack("<QQ", len(header), 0)
    os.write(fd, prefix + header + bytes(-(len(prefix) + len(header)) % 8))


def make_known() -> None:
    """Let this process import the package `inferencehub`, with the standard library in place of msgspec."""
    sys.path.insert(0, os.path.dirname(PACKAGE))
    importlib.import_module("inferencehub")
    del sys.path[0]  # what else is there is not for the model; the package finds its own modules
    standard = importlib.import_module("inferencehub.core.values.structs.standard")
    sys.modules[standard.__name__.replace("standard", "struct")] = standard


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file: its names are not for the model
    fds = [int(fd) for fd in sys.argv[1].split(",")]
    if sentence := refused():
        say(fds[0], sentence)
        sys.exit(1)
    make_known()
    from inferencehub.inference.runtimes.python_worker.worker import main

    main(fds, int(sys.argv[2]))
elif __name__ == "__mp_main__":  # in a process that the model starts with multiprocessing
    make_known()
