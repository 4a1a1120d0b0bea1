"""The documentation is true: its commands give the answers that it shows, and its tables agree with the code."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

from inferencehub.core.process.metrics import SECONDS
from inferencehub.core.process.settings import variables
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.http_api.jobs.events import EVENTS
from inferencehub.gateway.http_api.routes import ENDPOINTS
from inferencehub.gateway.metrics import Metrics as GatewayMetrics
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.metrics import Metrics as InferenceMetrics
from inferencehub.inference.runtimes.runtime import RUNTIMES
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.metrics import Metrics as ScalerMetrics
from inferencehub.scaler.settings import ScalerSettings
from tests.hub import ROOT, running_hub
from tests.pages import CODE, PAGES, page, table_names

ASKED = re.compile(r"<!-- asked -->\n```sh\n(.*?)\n```\n```json\n(.*?)\n```", re.DOTALL)
TIERS = {"gateway": GatewaySettings, "inference": InferenceSettings, "scaler": ScalerSettings}
VALUES = yaml.safe_load((ROOT / "charts/inferencehub/values.yaml").read_text())


async def test_each_question_gives_the_answer_beside_it() -> None:
    questions = [asked for name in PAGES for asked in ASKED.findall(page(name))]
    assert len(questions) >= 6
    async with running_hub() as hub:
        for command, expected in questions:
            assert "localhost:3000" in command
            asked = command.replace("http://", "").replace("localhost:3000", f"127.0.0.1:{hub.gateway.port}")
            shell = await asyncio.create_subprocess_shell(asked, stdout=asyncio.subprocess.PIPE)
            answer, _ = await shell.communicate()
            assert decoded(answer) == decoded(expected), command


def decoded(text: str | bytes) -> object:
    """JSON with its fractions rounded, because another processor may give other last digits."""
    return json.loads(text, parse_float=lambda digits: round(float(digits), 4))


def test_settings_are_those_of_the_code_with_their_tiers_and_defaults() -> None:
    row = r"^\| `((?:HUB_|OTEL_|PORT|GRPC_SERVER_URL)\w*)` \| (\w+) \| ([^|]*) \|"
    rows = {name: rest for name, *rest in re.findall(row, page("docs/settings.md"), re.MULTILINE)}
    fields = {tier: dict(variables(cls)) for tier, cls in TIERS.items()}
    assert rows.keys() == set().union(*fields.values())
    for name, (tier, default) in rows.items():
        having = [tier for tier in TIERS if name in fields[tier]]
        assert tier == {1: having[0], 2: "both", 3: "all"}[len(having)], name
        assert default.split(",")[0].strip("` ") == shown(fields[having[0]][name].default), name


def shown(default: object) -> str:
    """A setting's default as its variable would have it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_no_setting_that_does_not_exist(name: str) -> None:
    known = {setting for cls in TIERS.values() for setting, _ in variables(cls)}
    assert set(re.findall(r"\bHUB_[A-Z][A-Z_]*\b", page(name))) <= known


def metric_names(*more: GatewayMetrics | InferenceMetrics) -> Iterator[str]:
    """The names of all metrics of all tiers, except those of the process itself."""
    for metrics in more or (GatewayMetrics(), InferenceMetrics(), ScalerMetrics({}, {})):
        for family in metrics.registry.collect():
            if family.name.startswith("inferencehub"):
                yield f"{family.name}_total" if family.type == "counter" else family.name


async def test_metrics_are_those_of_the_code(tmp_path: Path) -> None:
    names = set(metric_names())
    (tmp_path / "traffic.json").write_text("{}")
    traffic = str(tmp_path / "traffic.json")
    async with running_hub(jobs="sqlite::memory:", model_loads=True, traffic=traffic) as hub:
        names |= set(metric_names(hub.gateway.metrics, hub.pods[0].metrics))
    assert {name for name in table_names("docs/metrics.md") if name.startswith("inferencehub_")} == names


async def test_routes_are_those_of_the_code() -> None:
    async with running_hub(jobs="sqlite::memory:") as hub:
        routes = [route for route in hub.gateway.routes if isinstance(route, Route)]
    known = {f"POST {path}" for path in ENDPOINTS} | {f"GET {EVENTS}"}
    known |= {f"{method} {route.path}" for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {
        name for name in table_names("docs/api.md") if name.startswith(("GET /", "POST /", "DELETE /"))
    } == known


def test_errors_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+)[^|]* \| (\w+) \|", page("docs/errors.md"), re.MULTILINE)
    assert {(kind.label, str(kind.http), kind.grpc) for kind in Kind} == set(rows)


def test_runtimes_are_those_of_the_code() -> None:
    text = page("docs/models.md")
    rows = re.findall(r"^\| `(\w+)`(?: \([^)]*\))? \| ", text[text.index("## Runtimes") :], re.MULTILINE)
    assert set(rows) - {"backend"} == {kind.name for kind in RUNTIMES.values()}


def test_each_value_of_the_chart_is_in_its_table() -> None:
    named = {re.split(r"[.*]", name)[0] for name in table_names("docs/kubernetes.md")}
    assert set(VALUES) <= named


def test_bounds_of_histograms_are_those_of_the_code() -> None:
    (listed,) = re.findall(
        r"The upper bounds in seconds are (.*)\.\n", (ROOT / "docs/metrics.md").read_text()
    )
    assert [float(bound) for bound in re.split(r", | and ", listed)] == list(SECONDS)


@pytest.mark.parametrize(
    "name", ["README.md", "docs/kubernetes.md", "docs/metrics.md", "docs/scaling.md", "docs/your-model.md"]
)
def test_a_page_names_no_value_that_the_chart_does_not_have(name: str) -> None:
    named = re.findall(r"--set '?([\w.]+)", page(name)) + CODE.findall(page(name))
    for value in named:
        path = re.split(r"[:=\[* ]", value)[0].strip(".")
        if re.fullmatch(r"\w+(\.\w+)+", path) and path.split(".")[0] in {*VALUES, *VALUES["inference"]}:
            assert has_value(VALUES, path) or has_value(VALUES["inference"], path), value


def has_value(values: Any, path: str) -> bool:
    """Whether a dotted name leads to a value."""
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
