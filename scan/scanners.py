"""Bandit, hadolint and checkov: each is run from its own environment with all of its rules, and its JSON is read.

No scanner has a configuration or a list of exceptions of its own, because scan/listed.toml is the one for all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from scan.findings import Finding
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import rendered
from tests.hub import ROOT

PROGRAMS = ROOT / ".venv-scan" / "bin"
SCAN_S = 600.0
PYTHON_CODE = ("services", "models", "charts/inferencehub/files")  # what is in an image, or runs in a cluster
DOCKERFILES = tuple(sorted(path.name for path in ROOT.glob("Dockerfile.*")))


def run(program: str, *arguments: str, folder: Path = ROOT, codes: tuple[int, ...] = (0,)) -> str:
    """What a scanner writes to its standard output; the whole scan ends if it fails.

    Args:
        codes: exit codes with which it has done its work.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments],
        cwd=folder,
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SCAN_S,
        check=False,
    )
    if done.returncode not in codes:
        raise SystemExit(f"{program} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def bandit() -> list[Finding]:
    """Findings in the Python code that is in an image or runs in a cluster."""
    report = json.loads(
        run("bandit", "--quiet", "--format", "json", "--recursive", *PYTHON_CODE, codes=(0, 1))
    )
    if report["errors"] or not report["metrics"]["_totals"]["loc"]:
        raise SystemExit(f"bandit could not read all files: {report['errors']}")
    return [
        Finding("bandit", one["test_id"], one["filename"], f"line {one['line_number']}: {one['issue_text']}")
        for one in report["results"]
    ]


def hadolint() -> list[Finding]:
    """Findings in the Dockerfiles."""
    report = json.loads(run("hadolint", "--no-fail", "--format", "json", *DOCKERFILES))
    return [
        Finding("hadolint", one["code"], one["file"], f"line {one['line']}: {one['message']}")
        for one in report
    ]


def checkov() -> list[Finding]:
    """Findings in the Dockerfiles, and in the chart under every set of values that its tests know."""
    with tempfile.TemporaryDirectory(prefix="hub-scan-") as name:
        folder = Path(name)
        write_chart(folder)
        for file in DOCKERFILES:
            shutil.copy(ROOT / file, folder / file)
        reports = json.loads(
            run(
                "checkov",
                *("--directory", ".", "--framework", "kubernetes", "dockerfile"),
                *("--output", "json", "--compact", "--quiet", "--soft-fail", "--skip-download"),
                folder=folder,
            )
        )
    return [finding for kind in ("kubernetes", "dockerfile") for finding in failed(reports, kind)]


def write_chart(folder: Path) -> None:
    """Render the chart into a folder for each set of values.

    The sets have releases and namespaces of their own. Otherwise checkov finds a pod of one set covered by the
    NetworkPolicy of another, because it looks at labels alone.
    """
    for name, values in COMBINATIONS.items():
        for template, text in rendered(values, name, name).items():
            if template.endswith(".yaml") and text.strip():
                file = folder / name / template
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)


def failed(reports: list[dict[str, Any]], kind: str) -> list[Finding]:
    """The failed checks of one kind of file; the scan ends if checkov has read none, or not all."""
    report = next((one for one in reports if one["check_type"] == kind), None)
    if report is None or not report["summary"]["resource_count"] or report["summary"]["parsing_errors"]:
        raise SystemExit(f"checkov could not read the files of kind {kind}")
    return [
        Finding(
            "checkov",
            check["check_id"],
            check["file_path"].lstrip("/"),
            f"{check['resource'].rpartition('/')[2]}: {check['check_name']}",
        )
        for check in report["results"]["failed_checks"]
    ]
