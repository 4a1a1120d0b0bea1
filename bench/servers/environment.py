"""A virtual environment for each peer or client, made once from its pinned requirements and kept under build/bench.

Its packages may not exist for this machine's Python, or may conflict with ours. The others must be measured all the
same. So each has its own environment; if it cannot be made, the results give the reason.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

from bench.paths import KEPT

INSTALL_S = 900.0


class NotInstalled(Exception):
    """An environment cannot be made; the text is the installer's last message."""


def python_of(requirements: Path) -> Path:
    """The Python of an environment, made where it is missing or its requirements have changed.

    Args:
        requirements: its lock; the environment has the name of this file.

    Raises:
        NotInstalled: with the reason.
    """
    name = requirements.stem
    place = KEPT / "environments" / name
    python = place / "venv" / "bin" / "python"
    mark = hashlib.sha256(requirements.read_bytes() + platform.python_version().encode()).hexdigest()
    stamp = place / "installed"
    if stamp.exists() and stamp.read_text() == mark:
        return python
    print(f"installing {name} into {place} (once)", file=sys.stderr, flush=True)
    place.mkdir(parents=True, exist_ok=True)
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place / "venv")])
    run(
        [
            *uv,
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(python),
            "-r",
            str(requirements),
        ]
    )
    stamp.write_text(mark)
    return python


def run(command: list[str]) -> None:
    """A step of the installer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"took more than {INSTALL_S:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(" ".join(said[-3:])[-300:])


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of what is installed in an environment, by name; what is not is left out."""
    code = (
        "import importlib.metadata as m, sys\n"
        "for d in m.distributions():\n"
        "    if d.name.lower() in sys.argv[1:]: print(d.name.lower(), d.version)"
    )
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=False)
    found = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1] for line in sorted(found)}
