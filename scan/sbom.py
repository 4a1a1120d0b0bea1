"""Bills of materials of both images as CycloneDX 1.6: `make sbom` writes build/sbom/gateway.cdx.json and inference.cdx.json.

Each lists the Python packages of one image: those of the image's lock that pip installs there. Their metadata says what
they need and under which licences they are; the lock has the hashes of their files. A lock is for each Python and
platform, so its packages are first installed for those of the image, into an environment that nobody runs. What
the base image brings, Python itself among it, is not in the lists.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.hub import ROOT

IMAGES = ("gateway", "inference")
PLATFORM = "x86_64-manylinux_2_28"  # on arm64 the packages are the same
CYCLONEDX = ROOT / ".venv-sbom" / "bin"
WRITTEN = ROOT / "build" / "sbom"
INSTALL_S = 600.0

Bill = dict[str, Any]


def main() -> None:
    """Write both lists and validate them."""
    WRITTEN.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        lock = ROOT / "requirements" / f"{image}.txt"
        with tempfile.TemporaryDirectory(prefix="hub-sbom-") as folder:
            environment = install(lock, python_of(image), Path(folder))
            installed = cyclonedx("environment", "--gather-license-texts", str(environment))
        bill = with_hashes(installed, cyclonedx("requirements", str(lock)))
        bill["metadata"]["component"]["name"] = f"inferencehub-{image}"
        path = WRITTEN / f"{image}.cdx.json"
        path.write_text(json.dumps(bill, indent=2) + "\n")
        run(str(CYCLONEDX / "python"), str(ROOT / "scan" / "valid.py"), str(path))
        print(f"{path.relative_to(ROOT)}: {summary(bill)}")


def python_of(image: str) -> str:
    """The Python of an image, such as 3.13."""
    found = re.search(
        r"^ARG PYTHON_IMAGE=python:(3\.\d+)", (ROOT / f"Dockerfile.{image}").read_text(), re.MULTILINE
    )
    if not found:
        raise SystemExit(f"Dockerfile.{image} has no line ARG PYTHON_IMAGE=python:3.…")
    return found[1]


def install(lock: Path, python: str, folder: Path) -> Path:
    """Install a lock's packages as they are for an image; the environment that has them."""
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    run(
        *(*uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--target", str(packages), "--python-version", python, "--python-platform", PLATFORM),
        *("--requirement", str(lock)),
    )
    return folder / "venv"


def cyclonedx(*arguments: str) -> Bill:
    """The list that cyclonedx-py makes of an environment or of a lock. The same source gives the same list."""
    text = run(
        *(str(CYCLONEDX / "cyclonedx-py"), *arguments, "--pyproject", str(ROOT / "pyproject.toml")),
        *("--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible", "--no-validate"),
    )
    bill: Bill = json.loads(text)
    return bill


def with_hashes(installed: Bill, locked: Bill) -> Bill:
    """The list of what is installed, with the hashes of the lock; each package has to be in it."""
    files = {one["purl"]: one["externalReferences"] for one in locked["components"]}
    for component in installed["components"]:
        if component["purl"] not in files:
            raise SystemExit(f"{component['purl']} is installed and not in the lock")
        component.setdefault("externalReferences", []).extend(files[component["purl"]])
    return installed


def summary(bill: Mapping[str, Any]) -> str:
    """How many packages are in a list, and which of them do not say their licence."""
    components = bill["components"]
    silent = [component["name"] for component in components if not component.get("licenses")]
    return f"{len(components)} packages, no licence known of {', '.join(silent) or 'none'}"


def run(*command: str) -> str:
    """What a program writes to its standard output; everything ends if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{Path(command[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    main()
