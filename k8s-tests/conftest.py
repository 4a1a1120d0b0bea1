"""Fixtures and the report of figures: each test says what it sent, what failed and how long it took."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.authority import Authority


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "long: takes minutes; `make k8s-test-all` runs it, `make k8s-test` does not"
    )


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """A cluster that answers; all tests need it."""
    done = subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True)
    if done.returncode:
        pytest.exit(f"kubectl reaches no cluster: {done.stderr.strip()}", returncode=2)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates that a release begins with."""
    return Authority(tmp_path_factory.mktemp("first"), "first")


FIGURES: list[str] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """`figure("text")` keeps a line for the table at the end."""

    def keep(text: object) -> None:
        FIGURES.append(f"{request.node.name}: {text}")
        print(text)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
