"""A real Prometheus answers every query of every dashboard, before any load and after one, with what the load says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import isnan
from time import monotonic

import pytest
import pytest_asyncio

from dashboards.boards import BOARDS
from dashboards.panel import ANNOTATIONS, VARIABLES
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, merge, of_kind, render
from tests.dashboards.prometheus import Prometheus, Samples, running_prometheus
from tests.dashboards.stack import BROKEN, EDITED, QUICK, SLOW, SPLIT, Stack, running_stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.tools]

VALUES = merge(COMBINATIONS["prometheus-rule"], at("inference.autoscaling.source", "demand"))
CHOSEN = {"namespace": "ml", "release": "hub", "pool": ".*", "model": ".*", "pod": ".*", "tenant": ".*"}
Answers = dict[tuple[str, str, int], Samples]


@dataclass
class Seen:
    """What the panels showed, by dashboard, title and place of the query; and what the load was."""

    quiet: Answers
    loaded: Answers
    stack: Stack
    alerts: Samples
    variables: dict[str, Samples]

    def one(self, board: str, title: str, place: int = 0) -> Samples:
        """What a query of a panel showed after the load."""
        return self.loaded[board, title, place]


def filled_in(text: str, window_s: int) -> str:
    """A query as Grafana sends it."""
    text = text.replace("$__rate_interval", f"{window_s}s")
    return re.sub(r"\$(\w+)", lambda found: CHOSEN[found[1]], text)


async def all_answers(prometheus: Prometheus, window_s: int) -> Answers:
    return {
        (board.name, panel.title, place): await prometheus.ask(filled_in(query.text, window_s))
        for board in BOARDS
        for panel in board.panels
        for place, query in enumerate(panel.queries)
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    folder = tmp_path_factory.mktemp("dashboards")
    (rule,) = of_kind(render(VALUES), "PrometheusRule")
    async with (
        running_stack(folder) as stack,
        running_prometheus(folder, stack.targets, rule["spec"]["groups"]) as prometheus,
    ):
        began = monotonic()
        await prometheus.scraped()
        quiet = await all_answers(prometheus, 60)
        await stack.load()
        await prometheus.scraped()
        loaded = await all_answers(prometheus, round(monotonic() - began) + 30)
        alerts = await prometheus.ask('ALERTS{alertstate="firing"}')
        for annotation in ANNOTATIONS:
            await prometheus.ask(filled_in(annotation["expr"], 60))
        variables = {}
        for name, variable in VARIABLES.items():
            series, label = re.findall(r"label_values\((.*), (\w+)\)", variable["query"]["query"])[0]
            variables[name] = await prometheus.ask(f"count by ({label}) ({filled_in(series, 60)})")
        yield Seen(quiet, loaded, stack, alerts, variables)


def by(samples: Samples, *labels: str) -> dict[tuple[str, ...], float]:
    """The values by some of their labels."""
    return {tuple(labels_.get(label, "") for label in labels): value for labels_, value in samples}


async def test_before_any_load_each_panel_has_data(seen: Seen) -> None:
    assert {key for key, samples in seen.quiet.items() if not samples} == set()
    for (board, title, _), samples in seen.quiet.items():
        for labels, value in samples:
            assert not isnan(value) or is_quantile(board, title), (board, title, labels)


def is_quantile(board: str, title: str) -> bool:
    """Of times that nobody has taken there is no quantile."""
    return any(
        "histogram_quantile" in query.expr
        for one in BOARDS
        if one.name == board
        for panel in one.panels
        if panel.title == title
        for query in panel.queries
    )


async def test_before_any_load_shares_are_0(seen: Seen) -> None:
    for board, title in (
        ("overview", "Requests"),
        ("overview", "Failed"),
        ("overview", "Refused"),
        ("overview", "Errors by model"),
        ("overview", "Waiting"),
        ("overview", "Busy slots"),
        ("traffic", "Rolled back"),
        ("traffic", "Not ready"),
        ("traffic", "Loads failed in an hour"),
        ("traffic", "Failed"),
        ("traffic", "Refused"),
        ("jobs", "Failed in an hour"),
        ("jobs", "Oldest"),
        ("slo", "Availability: burn rate"),
        ("slo", "Latency: burn rate"),
    ):
        values = {value for _, value in seen.quiet[board, title, 0]}
        assert values == {0.0}, (board, title)
    assert {value for _, value in seen.quiet["slo", "Availability: budget left", 0]} == {1.0}


async def test_after_the_load_each_query_has_data(seen: Seen) -> None:
    assert {key for key, samples in seen.loaded.items() if not samples} == set()
    for key, samples in seen.loaded.items():
        assert any(not isnan(value) for _, value in samples), key


async def test_every_variable_has_values(seen: Seen) -> None:
    for name, samples in seen.variables.items():
        assert any(value for labels, _ in samples for value in labels.values()), name
    models = {labels.get("model") for labels, _ in seen.variables["model"]}
    assert {SLOW, QUICK, BROKEN, "sentiment"} <= models
    assert {labels.get("pod") for labels, _ in seen.variables["pod"]} == {
        "gateway-1",
        "pod-0",
        "pod-1",
        "scaler-1",
    }


async def test_statuses_are_those_of_the_load(seen: Seen) -> None:
    rates = by(seen.one("overview", "Requests by status"), "status")
    total, made = sum(rates.values()), seen.stack.statuses.total()
    for status in {*seen.stack.statuses, "503"}:
        share = seen.stack.statuses[status] / made
        assert rates[status,] / total == pytest.approx(share, rel=0.01, abs=1e-9), status
    assert {"200", "202", "400", "404", "429", "500", "504"} <= set(seen.stack.statuses)


async def test_shares_of_errors_are_those_of_the_load(seen: Seen) -> None:
    statuses = seen.stack.statuses
    # Without the 13 attempts of jobs, of which three failed.
    bad, asked = statuses["500"] + statuses["503"] + statuses["504"] - 3, statuses.total() - 13
    ((_, failed),) = seen.one("overview", "Failed")
    assert failed == pytest.approx(bad / asked, rel=0.01)
    ((_, refused),) = seen.one("overview", "Refused")
    assert refused == pytest.approx(statuses["429"] / asked, rel=0.01)
    errors = by(seen.one("overview", "Errors by model"), "model")
    slow = seen.stack.by_model
    assert errors[SLOW,] == pytest.approx(
        slow[SLOW, "504"] / (slow[SLOW, "504"] + slow[SLOW, "200"]), rel=0.01
    )
    assert errors[QUICK,] == 0
    ((_, ratio),) = seen.one("slo", "Availability: last hour")
    assert 1 - ratio == pytest.approx(bad / asked, rel=0.05)
    ((_, burns),) = seen.one("slo", "Availability: burn rate", 0)
    assert burns == pytest.approx((1 - ratio) / 0.001, rel=0.05)
    ((_, left),) = seen.one("slo", "Availability: budget left")
    assert left < 0


async def test_latency_is_what_the_callers_saw(seen: Seen) -> None:
    """A quarter of what the error of a bucket may be is for the way to the caller, on a busy machine."""
    shown = by(seen.one("overview", "p99 by model"), "model")
    exact = sorted(seen.stack.seconds[SLOW])
    assert shown[SLOW,] == pytest.approx(exact[round(0.99 * len(exact)) - 1], rel=0.15, abs=0.02)
    assert shown[SLOW,] >= 0.5
    runs = seen.one("model", "Run", 1)
    assert runs[0][1] >= 0.5


async def test_batches_and_streams_are_seen(seen: Seen) -> None:
    rows = by(seen.one("model", "Rows of a call to a pod"), "model")
    assert rows[QUICK,] > 1.5
    assert rows[SLOW,] >= 1
    for title in ("First answer of a stream", "Between answers of a stream"):
        assert all(0 < value < 60 for _, value in seen.one("model", title)), title


async def test_tenants_have_what_they_used(seen: Seen) -> None:
    refused = by(seen.one("tenant", "Refused"), "tenant")
    made = seen.stack.calls["shop"]
    # Prometheus' estimates of two rates differ where one counter began at 0 and the other one at 1.
    assert refused["shop",] == pytest.approx(seen.stack.statuses["429"] / made, rel=0.05)
    assert refused["search",] == 0
    failed = by(seen.one("tenant", "Failed"), "tenant")
    assert failed["shop",] == 0
    assert failed["search",] > 0


async def test_the_quota_of_a_key_is_used_as_it_calls(seen: Seen) -> None:
    ((labels, used),) = seen.one("tenant", "Quotas of today")
    assert (labels["tenant"], labels["caller"], labels["unit"]) == ("search", "search", "calls")
    assert used > 0
    assert {value for _, value in seen.one("tenant", "Refused by quotas")} == {0.0}


async def test_jobs_are_counted_by_how_they_ended(seen: Seen) -> None:
    ended = by(seen.one("jobs", "Ended"), "state")
    assert ended["failed",] / ended["succeeded",] == pytest.approx(0.3, rel=0.01)
    assert [value for _, value in seen.one("jobs", "Store")] == [1]
    assert [value for _, value in seen.one("jobs", "Waiting")] == [0]


async def test_each_version_has_its_calls_and_failures(seen: Seen) -> None:
    calls = by(seen.one("traffic", "Calls"), "model", "version")
    good, bad = seen.stack.versions["1"], seen.stack.by_model[SPLIT, "500"]
    assert seen.stack.versions == {"1": good}
    assert bad >= 10
    # Prometheus' estimates differ, because the counter of version 1 began at 1. No copies of calls are counted.
    assert calls[SPLIT, "2"] / calls[SPLIT, "1"] == pytest.approx(bad / good, rel=0.05)
    assert (SPLIT, "3") not in calls
    failed = by(seen.one("traffic", "Failed"), "version")
    assert failed == {("1",): 0, ("2",): pytest.approx(1)}
    assert by(seen.one("traffic", "Real"), "version")["2",] == pytest.approx(bad / (good + bad), rel=0.05)
    times = by(seen.one("traffic", "p99"), "version")
    assert 0 < times["1",] < 5
    assert isnan(times["2",]), "it answered nobody"


async def test_a_version_that_is_rolled_back_gets_none_of_what_the_file_gives_it(seen: Seen) -> None:
    assert by(seen.quiet["traffic", "Given", 0], "version") == {("1",): 0.5, ("2",): 0.5}
    assert by(seen.one("traffic", "Wanted"), "version") == {("1",): 0.5, ("2",): 0.5}
    assert by(seen.one("traffic", "Given"), "version") == {("1",): 1, ("2",): 0}
    assert by(seen.one("traffic", "Rollbacks"), "model", "version") == {(SPLIT, "2"): 1}
    assert [value for _, value in seen.one("traffic", "Rolled back")] == [1]


async def test_copies_show_that_the_next_version_differs_and_is_slower(seen: Seen) -> None:
    copies = by(seen.one("traffic", "Copies"), "version", "outcome")
    assert copies["3", "differed"] > 0
    assert copies["3", "agreed"] == copies["3", "failed"] == 0
    assert [value for _, value in seen.one("traffic", "Copies that agreed")] == [0]
    assert by(seen.one("traffic", "Agreement"), "version") == {("3",): 0}
    assert by(seen.one("traffic", "Latency ratio"), "version")["3",] > 1.5


async def test_a_load_that_failed_is_counted_at_each_pod_and_what_served_serves(seen: Seen) -> None:
    ((_, failed),) = seen.one("traffic", "Loads failed in an hour")
    assert failed > 1, "each pod tries once at least, and again"
    loads = by(seen.one("traffic", "Loads"), "model", "result")
    assert {model for (model, result), value in loads.items() if result == "failed" and value} == {EDITED}
    serve = by(seen.one("traffic", "Pods that serve a version"), "model", "version")
    assert serve[EDITED, "1"] == serve[SPLIT, "2"] == serve[SPLIT, "3"] == 2
    assert [value for _, value in seen.one("traffic", "Not ready")] == [2], (
        "a configuration that cannot be read is of no version"
    )


async def test_pods_are_seen_by_gateway_and_scaler(seen: Seen) -> None:
    assert [value for _, value in seen.one("overview", "Pods")] == [2]
    assert by(seen.one("scaling", "Demand and pods", 1), "inferencehub_pool") == {("default",): 2}
    assert [value for _, value in seen.one("scaling", "Gateways", 1)] == [1]
    assert all(value < 10 for _, value in seen.one("scaling", "Age of the demand"))
    assert {labels["pod"] for labels, _ in seen.one("pod", "Event loop late")} == {
        target.pod for target in seen.stack.targets
    }
    assert all(0 < value < 64 for _, value in seen.one("pod", "CPU of the service"))


async def test_the_certificate_of_the_gateway_ends_tomorrow(seen: Seen) -> None:
    ((labels, left),) = seen.one("pod", "Certificates end in")
    assert (labels["pod"], labels["setting"]) == ("gateway-1", "HUB_TLS")
    assert 80_000 < left < 90_000


async def test_the_load_that_fails_is_told(seen: Seen) -> None:
    """A good quarter of an hour is not over, so only what fires at once has."""
    names = {labels["alertname"] for labels, _ in seen.alerts}
    assert {
        "InferenceHubErrorsFast",
        "InferenceHubErrorsSlow",
        "InferenceHubJobsFail",
        "InferenceHubLoadFailed",
        "InferenceHubVersionRolledBack",
    } <= names
    assert not names & {
        "InferenceHubNoGateway",
        "InferenceHubNoPod",
        "InferenceHubStoreDown",
        "InferenceHubModelDown",
    }
