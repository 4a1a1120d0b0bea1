"""The command `inferencehub` as a user has it: installed by pip, and as `python -m`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inferencehub import __version__
from tests.hub import ROOT

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it from this tree, its dependencies left out."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "services", source / "services", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, "--quiet", "--target", target, source], check=True, timeout=120, stdin=subprocess.DEVNULL
    )
    return target


def say(*command: str | Path, **environ: str) -> tuple[int, str, str]:
    """The exit code of a command that ends by itself, its standard output and its standard error."""
    done = subprocess.run(command, env={**ENVIRON, **environ}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def say_here(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """The same of `inferencehub` from this tree."""
    return say(sys.executable, "-m", "inferencehub", *arguments, PYTHONPATH=str(ROOT / "services"), **environ)


@pytest.mark.long
def test_the_console_script_tells_its_version_and_commands(installed: Path) -> None:
    script, path = installed / "bin" / "inferencehub", str(installed)
    assert say(script, "--version", PYTHONPATH=path) == (0, f"inferencehub {__version__}\n", "")
    code, out, _ = say(script, "--help", PYTHONPATH=path)
    assert (code, "Usage: inferencehub [OPTIONS] COMMAND" in out, "  run " in out) == (0, True, True)
    code, out, _ = say(script, "run", "--help", PYTHONPATH=path)
    assert (code, "--inference-port" in out) == (0, True)


def test_a_wheel_declares_the_licence_and_has_its_text(installed: Path) -> None:
    [info] = installed.glob("inferencehub-*.dist-info")
    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text().split("\n")
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("module", ["inferencehub", "inferencehub.cli"])
def test_python_m_is_the_same_command(module: str) -> None:
    command = (sys.executable, "-m", module, "--version")
    assert say(*command, PYTHONPATH=str(ROOT / "services")) == (0, f"inferencehub {__version__}\n", "")


def test_the_help_names_the_command_that_fetches_models() -> None:
    code, out, _ = say_here("--help")
    assert code == 0
    assert "python -m inferencehub.inference fetch" in " ".join(out.split())


def test_a_wrong_command_line_is_refused_with_what_was_expected() -> None:
    command, path = (sys.executable, "-m", "inferencehub"), str(ROOT / "services")
    code, out, err = say(*command, "rum", PYTHONPATH=path)
    assert (code, out, "No such command 'rum'" in err) == (2, "", True)
    code, out, err = say(*command, "run", "--inference-port", "70000", PYTHONPATH=path)
    assert (code, out, "1<=x<=65535" in err) == (2, "", True)
    for name, most in (("PODS", 64), ("INFERENCE_PORT", 65535)):
        code, out, err = say(*command, "run", PYTHONPATH=path, **{name: "abc"})
        said = f"(env var: '{name}'): 'abc' is no whole number, expected one from 1 to {most}\n"
        assert (code, out, said in err) == (2, "", True), err


def test_a_setting_that_no_tier_has_is_refused_in_one_sentence() -> None:
    command, path = (sys.executable, "-m", "inferencehub"), str(ROOT / "services")
    code, out, err = say(*command, "run", PYTHONPATH=path, HUB_QUEUE_LENGHT="5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("inferencehub: HUB_QUEUE_LENGHT is no setting; expected one of")
