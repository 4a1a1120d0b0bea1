"""The arrows between modules: allowed imports, who reads the environment, and that an import has no effects."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.each import for_each

SERVICES = Path(__file__).resolve().parents[1] / "services"
PACKAGE = SERVICES / "inferencehub"
TIERS = sorted(path.name for path in PACKAGE.iterdir() if path.name in ("gateway", "inference", "scaler"))
SOURCES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.parent.name != "pb"
)
# Each tier and core from the top down: a room is a folder or a file, and imports only rooms below itself.
ROOMS = {
    "core": ("grpc_server", "traces", "process", "http2", "http1", "oip", "lane", "tls", "auth", "files", "audit", "values"),
    "gateway": (
        "__main__", "server", "console", "http_api", "grpc_api", "jobs", "calls", "routing", "pods", "json_codec", "metrics", "settings",
    ),
    "inference": ("__main__", "unfetched", "server", "doctor", "check", "fetch", "grpc_api", "models", "runtimes", "metrics", "own_metrics", "settings"),
    "scaler": ("__main__", "server", "doctor", "metrics", "activator", "metrics_api", "tier_tls", "demand", "issuing", "kube", "settings"),
    "cli": ("__main__", "run", "deploy", "check", "doctor", "keys", "new", "predict", "replay", "score", "client", "processes"),
    "model": ("context", "calls", "metrics"),
}  # fmt: skip
MOST_ROOMS, MOST_FILES, DEEPEST = 12, 10, 2
# What core may import beside itself and the standard library, and in which of its rooms.
CORE_MAY = {
    "msgspec": {"values", "process", "oip", "lane", "http1", "auth", "traces"},
    "prometheus_client": {"process"},
    "hpack": {"http2"},
    "joserfc": {"auth"},
    "httptools": {"http1"},
    "uvicorn": {"http1"},
    "uvloop": {"process"},
    "inferencehub.pb": {"oip", "grpc_server"},
    "google.protobuf": {"oip", "grpc_server", "traces"},
    "opentelemetry.proto": {"traces"},
    "grpc": {"grpc_server"},
    "grpc_health": {"grpc_server"},
    "grpc_reflection": {"grpc_server"},
}
# A child process gets the environment that this one has; nothing is read out of it.
HANDS_ENVIRONMENT_ON = {"inference/runtimes/python/process.py"}


@cache
def tree_of(source: str) -> ast.Module:
    return ast.parse((PACKAGE / source).read_text())


@cache
def imports_of(source: str) -> list[str]:
    """The full name of everything that a file imports, wherever in the file."""
    names: list[str] = []
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are written in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@for_each(SOURCES)
def test_a_tier_imports_no_other_tier_and_core_imports_none(source: str) -> None:
    own = source.split("/")[0]
    for name in imports_of(source):
        if own == "cli" and any(within(name, f"inferencehub.{tier}.settings") for tier in TIERS):
            continue  # it hands settings on to tiers that it starts as processes of their own
        if own == "testing.py" and within(name, "inferencehub.inference"):
            continue  # it runs a model in a user's own test
        for tier in TIERS:
            assert own == tier or not within(name, f"inferencehub.{tier}"), f"{source} imports {name}"


@for_each(SOURCES)
def test_the_command_line_is_above_all_and_click_stays_in_it(source: str) -> None:
    above = source.startswith("cli/")
    for name in imports_of(source):
        assert above or not within(name, "click"), f"{source} imports {name}"
        allowed = above or source == "__main__.py"
        assert allowed or not within(name, "inferencehub.cli"), f"{source} imports {name}"


@for_each([source for source in SOURCES if source.startswith("core/")])
def test_core_knows_no_framework(source: str) -> None:
    room = source.split("/")[1]
    for name in imports_of(source):
        allowed = any(within(name, package) and room in rooms for package, rooms in CORE_MAY.items())
        own = within(name, "inferencehub.core") or name == "inferencehub.__version__"
        assert allowed or own or name.split(".")[0] in sys.stdlib_module_names, f"{source} imports {name}"


def room_of(name: str) -> tuple[str, str]:
    """Tier and room of a module or of something in it; "" for a tier's own `__init__`."""
    parts = [*name.removeprefix("inferencehub.").split("."), ""]
    return parts[0], parts[1]


def module_of(source: str) -> str:
    """The dotted name of a file."""
    return "inferencehub." + source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@for_each(ROOMS)
def test_each_tier_has_the_rooms_that_the_table_names(tier: str) -> None:
    found = {room_of(module_of(source))[1] for source in SOURCES if source.startswith(f"{tier}/")} - {""}
    assert found <= set(ROOMS[tier])
    assert len(found) <= MOST_ROOMS


@for_each([source for source in SOURCES if source.count("/")])
def test_imports_run_down(source: str) -> None:
    tier, room = room_of(module_of(source))
    rooms = ROOMS[tier]
    for name in imports_of(source):
        other_tier, other = room_of(name)
        if within(name, f"inferencehub.{tier}") and other_tier == tier and room and other != room:
            assert rooms.index(other) > rooms.index(room), f"{source} imports {name}"


def test_there_is_no_circle() -> None:
    """Neither between files, also where only types are imported, nor between folders."""
    modules = {module_of(source): source for source in SOURCES}
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        named = [name if name in modules else name.rpartition(".")[0] for name in imports_of(source)]
        graph[module] = {name for name in named if name in modules and name != module}
    folders: dict[str, set[str]] = {}
    for module, others in graph.items():
        inside = modules[module].rpartition("/")[0]
        folders.setdefault(inside, set()).update(modules[name].rpartition("/")[0] for name in others)
    apart = {
        folder: {other for other in others if not is_part(folder, other)}
        for folder, others in folders.items()
    }
    for arrows in (graph, apart):
        list(TopologicalSorter(arrows).static_order())  # raises CycleError with the circle


def is_part(one: str, other: str) -> bool:
    """Whether one of two folders holds the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


FOLDERS = sorted({source.rpartition("/")[0] for source in SOURCES} - {""})


@for_each(FOLDERS)
def test_folders_are_small_and_say_what_is_inside(folder: str) -> None:
    assert folder.count("/") <= DEEPEST
    files = [source for source in SOURCES if source.rpartition("/")[0] == folder]
    assert len([file for file in files if not file.endswith("__init__.py")]) <= MOST_FILES
    init = (PACKAGE / folder / "__init__.py").read_text()
    assert len(init.splitlines()) == 1, "one line, and no code"
    assert init.startswith('"""')
    assert "mport" in init, "it says what it may import, or what imports it"


@for_each([source for source in SOURCES if source.startswith("gateway/")])
def test_the_gateway_has_no_arrays(source: str) -> None:
    for name in imports_of(source):
        assert name.split(".")[0] not in ("numpy", "onnxruntime"), f"{source} imports {name}"


@for_each([s for s in SOURCES if Path(s).name != "__main__.py"])
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
        env={**os.environ, "PYTHONPATH": str(SERVICES), "PYTHONDONTWRITEBYTECODE": "1"},
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
LIBRARIES = (
    "asyncio click grpc lightgbm numpy onnxruntime prometheus_client sklearn.base starlette.routing uvicorn uvloop "
    "xgboost google.protobuf.message"
)
HEAVY = {"tensorflow", "torch"}  # libraries that are not in this environment


def test_importing_any_module_does_nothing() -> None:
    names = [
        module_of(source)
        for source in SOURCES
        if not any(within(name, heavy) for name in imports_of(source) for heavy in HEAVY)
    ]
    everything = "\n".join(f"import {name}" for name in names if name != "inferencehub.__init__")
    program = WATCHED.replace("__import__(sys.argv[1])", everything)
    run_fresh(program, "", LIBRARIES)
