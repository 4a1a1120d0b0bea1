"""The README is true: its questions give its answers, and every setting, metric, route, error and runtime is in it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

from starlette.routing import Route

from inferencehub.core.process.settings import variables
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.http_api.routes import ENDPOINTS
from inferencehub.gateway.metrics import Metrics as GatewayMetrics
from inferencehub.gateway.settings import GatewaySettings
from inferencehub.inference.metrics import Metrics as InferenceMetrics
from inferencehub.inference.runtimes.runtime import RUNTIMES
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.metrics import Metrics as ScalerMetrics
from inferencehub.scaler.settings import ScalerSettings
from tests.hub import ROOT, running_hub

README = (ROOT / "README.md").read_text()
ASKED = re.compile(r"<!-- asked -->\n```sh\n(.*?)\n```\n```json\n(.*?)\n```", re.DOTALL)


async def test_each_question_gives_the_answer_beside_it() -> None:
    questions = ASKED.findall(README)
    assert len(questions) >= 6
    async with running_hub() as hub:
        for command, expected in questions:
            assert "localhost:3000" in command
            asked = command.replace("http://", "").replace("localhost:3000", f"127.0.0.1:{hub.gateway.port}")
            shell = await asyncio.create_subprocess_shell(asked, stdout=asyncio.subprocess.PIPE)
            answer, _ = await shell.communicate()
            assert decoded(answer) == decoded(expected), command


def decoded(text: str | bytes) -> object:
    """JSON with its fractions as another processor would give them too."""
    return json.loads(text, parse_float=lambda digits: round(float(digits), 4))


def table_names() -> set[str]:
    """What stands in backquotes in the README's tables."""
    rows = [line for line in README.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_settings_are_those_of_the_code_with_their_defaults() -> None:
    fields = {
        **dict(variables(ScalerSettings)),
        **dict(variables(InferenceSettings)),
        **dict(variables(GatewaySettings)),
    }
    rows = dict(
        re.findall(r"^\| `((?:HUB_|PORT|GRPC_SERVER_URL)\w*)` \| \w+ \| ([^|]*) \|", README, re.MULTILINE)
    )
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        default = field.default
        shown = (
            str(default).lower() if isinstance(default, bool)
            else ",".join(default) if isinstance(default, tuple)
            else f"{default:g}" if isinstance(default, float)
            else str(default)
        )  # fmt: skip
        assert rows[name].split(",")[0].strip("` ") == shown, name


def metric_names() -> Iterator[str]:
    """The names of all metrics of both tiers, but those of the process itself."""
    for metrics in (GatewayMetrics(), InferenceMetrics(), ScalerMetrics({})):
        for family in metrics.registry.collect():
            if family.name.startswith("inferencehub"):
                yield f"{family.name}_total" if family.type == "counter" else family.name


async def test_metrics_are_those_of_the_code() -> None:
    names = set(metric_names())
    async with running_hub() as hub:
        names |= {
            family.name
            for family in hub.gateway.metrics.registry.collect()
            if family.name.startswith("inferencehub_")
        }
    assert {name for name in table_names() if name.startswith("inferencehub_")} == names


async def test_routes_are_those_of_the_code() -> None:
    async with running_hub() as hub:
        routes = [route for route in hub.gateway.routes if isinstance(route, Route)]
    known = {f"POST {path}" for path in ENDPOINTS}
    known |= {f"{'POST' if 'POST' in (route.methods or ()) else 'GET'} {route.path}" for route in routes}
    assert {name for name in table_names() if name.startswith(("GET /", "POST /"))} == known


def test_errors_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+)[^|]* \| (\w+) \|", README, re.MULTILINE)
    assert {(kind.label, str(kind.http), kind.grpc) for kind in Kind} == set(rows)


def test_runtimes_are_in_it() -> None:
    names = table_names()
    assert {kind.name for kind in RUNTIMES.values()} <= names
    assert "make run     #" in README
    assert "make test    #" in README
