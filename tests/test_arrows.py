"""Who may import whom, who reads the environment, and that an import does nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[1] / "services"
PACKAGE = SERVICES / "inferencehub"
TIERS = sorted(path.name for path in PACKAGE.iterdir() if path.name in ("gateway", "inference", "scaler"))
SOURCES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.parent.name != "pb"
)
# What core may import beside itself and the standard library, and in which of its files.
CORE_MAY = {
    "msgspec": {"core/demand.py", "core/logs.py", "core/ops.py", "core/wire.py"},
    "prometheus_client": {"core/histogram.py", "core/metrics.py", "core/ops.py"},
    "hpack": {"core/http2/stream.py"},
    "httptools": {"core/http1/head.py"},
    "uvicorn": {"core/http.py", "core/http1/server.py"},
    "uvloop": {"core/process.py"},
    "inferencehub.pb": {"core/wire.py"},
}
# A child process gets the environment that this one has; nothing is read out of it.
HANDS_ENVIRONMENT_ON = {"inference/runtimes/python_process.py"}


def tree_of(source: str) -> ast.Module:
    return ast.parse((PACKAGE / source).read_text())


def imports_of(source: str) -> Iterator[str]:
    """The full name of everything that a file imports, wherever in the file."""
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize("source", SOURCES)
def test_a_tier_imports_no_other_tier_and_core_imports_none(source: str) -> None:
    own = source.split("/")[0]
    if own == "__main__.py":
        return  # it starts all tiers, each as a process of its own
    for name in imports_of(source):
        for tier in TIERS:
            assert own == tier or not within(name, f"inferencehub.{tier}"), f"{source} imports {name}"


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("core/")])
def test_core_knows_no_framework(source: str) -> None:
    for name in imports_of(source):
        allowed = any(within(name, package) and source in files for package, files in CORE_MAY.items())
        own = within(name, "inferencehub.core") or name == "inferencehub.__version__"
        assert allowed or own or name.split(".")[0] in sys.stdlib_module_names, f"{source} imports {name}"


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("gateway/")])
def test_the_gateway_has_no_arrays(source: str) -> None:
    for name in imports_of(source):
        assert name.split(".")[0] not in ("numpy", "onnxruntime"), f"{source} imports {name}"


@pytest.mark.parametrize("source", [s for s in SOURCES if Path(s).name != "__main__.py"])
def test_only_main_reads_the_environment(source: str) -> None:
    if source in HANDS_ENVIRONMENT_ON:
        return
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("environ", "environb", "getenv", "getenvb"), f"{source}:{node.lineno}"
    assert not {"os.environ", "os.getenv", "os.environb"} & set(imports_of(source))


def run_fresh(program: str, *arguments: str) -> str:
    """The output of a program in a new interpreter that has our package."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(SERVICES)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = "import sys; __import__(sys.argv[1]); print(*sorted(sys.modules))"


@pytest.mark.parametrize(
    ("tier", "never"),
    [
        ("gateway", ["numpy", "onnxruntime", "inferencehub.inference"]),
        ("inference", ["starlette", "onnxruntime", "inferencehub.gateway"]),
        ("scaler", ["numpy", "grpc", "starlette", "inferencehub.gateway", "inferencehub.inference"]),
    ],
)
def test_what_a_tier_loads_leaves_the_other_out(tier: str, never: list[str]) -> None:
    loaded = run_fresh(LOADED, f"inferencehub.{tier}.__main__").split()
    assert f"inferencehub.{tier}.server" in loaded
    assert not [name for name in loaded if any(within(name, package) for package in never)]


# Events of the interpreter (PEP 578) that an import must not cause.
WATCHED = """
import sys
acts = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.putenv", "os.mkdir", "os.remove", "signal.pthread")
seen = []

def watch(event, args):
    if event == "os.putenv" and args[0] == b"GRPC_ENABLE_FORK_SUPPORT":
        return  # inference/__main__.py: gRPC reads it when it is imported
    if event.startswith(acts) or event == "_thread.start_new_thread":
        seen.append((event, args))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if "__pycache__" not in str(args[0]):
            seen.append((event, args))

import logging, threading, signal
for library in sys.argv[2].split():
    __import__(library)
terminate = signal.getsignal(signal.SIGTERM)
sys.addaudithook(watch)
__import__(sys.argv[1])
assert not seen, seen
assert threading.active_count() == 1, threading.enumerate()
assert not logging.getLogger().handlers, "logging is set up"
assert signal.getsignal(signal.SIGTERM) is terminate, "a signal handler is set"
"""
LIBRARIES = "asyncio grpc numpy onnxruntime prometheus_client starlette.routing uvicorn uvloop google.protobuf.message"


def test_importing_any_module_does_nothing() -> None:
    names = [
        f"inferencehub.{s.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for s in SOURCES
    ]
    everything = "\n".join(f"import {name}" for name in names if name != "inferencehub.__init__")
    program = WATCHED.replace("__import__(sys.argv[1])", everything)
    run_fresh(program, "", LIBRARIES)
