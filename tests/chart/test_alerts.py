"""Every alert of the chart fires when it should and is silent when it should be, as promtool computes it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.alert_cases import CASES, Series, loads, series
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Object, at, merge, of_kind, render
from tests.hub import ROOT
from tests.programs import PROMTOOL, on_path

PREFIX = "InferenceHub"
RULE = COMBINATIONS["prometheus-rule"]
WITH_SCALER = merge(RULE, at("inference.autoscaling.source", "demand"))
ASLEEP = merge(RULE, COMBINATIONS["scaled-to-zero"])
RESTARTS = {"namespace": "ml", "pod": "hub-inferencehub-gateway-1", "container": "gateway"}


def groups(values: Mapping[str, Any]) -> list[Object]:
    """The groups of rules that the chart renders."""
    (rule,) = of_kind(render(values), "PrometheusRule")
    found: list[Object] = rule["spec"]["groups"]
    return found


def alerts(values: Mapping[str, Any] = RULE) -> dict[str, Object]:
    """The alerts by their names without what all have in common."""
    rules = [rule for group in groups(values) for rule in group["rules"] if "alert" in rule]
    return {rule["alert"].removeprefix(PREFIX): rule for rule in rules}


def test_each_alert_has_a_severity_a_sentence_a_runbook_and_a_case() -> None:
    found = alerts()
    assert found.keys() == CASES.keys()
    page = (ROOT / "docs/runbooks.md").read_text()
    sections = [title.lower() for title in re.findall(r"^### (\w+)$", page, re.MULTILINE)]
    for name, alert in found.items():
        assert alert["labels"]["severity"] in {"warning", "critical"}, name
        assert alert["annotations"]["summary"].endswith("."), name
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks.md#{alert['alert'].lower()}"
    assert sections == [alert["alert"].lower() for alert in found.values()], "in the order of the rules"


def test_no_word_is_left_to_be_replaced() -> None:
    for values in (RULE, WITH_SCALER, ASLEEP):
        assert not re.search(r"@\w+@", json.dumps(groups(values)))


def test_objectives_and_labels_are_values() -> None:
    chosen = {
        "labels": {"team": "ml"},
        "runbooks": "https://example.com/runbooks.md",
        "availability": 0.99,
        "latency": {"seconds": 0.5, "share": 0.95},
        "queueSeconds": 0.2,
        "shadow": {"differs": 0.3, "slower": 2},
        "certificateDays": 3,
    }
    found = alerts(merge(RULE, at("monitoring.prometheusRule.alerts", chosen)))
    assert "> 14.4 * 0.01" in found["ErrorsFast"]["expr"]
    assert "> 6 * 0.05" in found["LatencySlow"]["expr"]
    assert "> 0.2" in found["QueueSlow"]["expr"]
    assert "> 0.3\n" in found["ShadowDiffers"]["expr"]
    assert "> 2\n" in found["ShadowSlow"]["expr"]
    assert "< 3 * 86400" in found["CertificateEnds"]["expr"]
    assert found["NoPod"]["labels"] == {"severity": "critical", "team": "ml"}
    url = found["NoPod"]["annotations"]["runbook_url"]
    assert url == "https://example.com/runbooks.md#inferencehubnopod"
    rendered = json.dumps(groups(merge(RULE, at("monitoring.prometheusRule.alerts", chosen))))
    assert 'le=~\\"0.5\\"' in rendered
    assert 'le=~\\"1|1.0\\"' in json.dumps(groups(RULE))


def test_a_certificate_that_lives_a_day_does_not_always_end_soon() -> None:
    for days, last in ((14, 86400), (0.5, 21600)):
        found = alerts(merge(RULE, at("monitoring.prometheusRule.alerts.certificateDays", days)))
        assert found["CertificateEndsSoon"]["expr"].count(f"- time() < {last}\n") == 1
        assert found["CertificateEndsSoon"]["expr"].endswith(f"- time() < {last}")


def test_alerts_can_be_left_out() -> None:
    assert alerts(merge(RULE, at("monitoring.prometheusRule.alerts.enabled", False))) == {}


def facts(values: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What the chart says of pools, by the end of the series' name and the pool."""
    return {
        (rule["record"].removeprefix("inferencehub_"), rule["labels"].get("pool", "")): rule["expr"]
        for group in groups(values)
        if group["name"].endswith("-facts")
        for rule in group["rules"]
    }


def test_prometheus_knows_the_least_and_the_most_pods_of_each_pool() -> None:
    assert facts(ASLEEP) == {
        ("pool_least_pods", "default"): "vector(0)",
        ("pool_most_pods", "default"): "vector(10)",
        ("pool_least_pods", "keda"): "vector(0)",
        ("pool_most_pods", "keda"): "vector(10)",
        ("pool_least_pods", "still"): "vector(1)",
        ("objective_availability", ""): "vector(0.999)",
        ("objective_latency", ""): "vector(0.99)",
        ("wanted_scalers", ""): "vector(1)",
    }


def fired(given: Sequence[Series], name: str, minutes: int, expected: int) -> Object:
    """A test that so many alerts of that name fire after so many minutes."""
    expr = f'count(ALERTS{{alertname="{PREFIX}{name}", alertstate="firing"}}) or vector(0)'
    samples = [{"labels": "{}", "value": expected}]
    return {
        "interval": "1m",
        "input_series": list(given),
        "promql_expr_test": [{"expr": expr, "eval_time": f"{minutes}m", "exp_samples": samples}],
    }


def promtool(tmp_path: Path, values: Mapping[str, Any], *tests: Object) -> str:
    """Run tests on the rules that the chart renders; what it said if one failed, "" if none did."""
    (tmp_path / "rules.json").write_text(json.dumps({"groups": groups(values)}))
    whole = {"rule_files": ["rules.json"], "evaluation_interval": "30s", "tests": list(tests)}
    (tmp_path / "test.json").write_text(json.dumps(whole))
    command = [on_path(PROMTOOL), "test", "rules", "test.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.tools
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_where_it_should_and_only_there(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    fires = fired(case.fires, name, case.minutes, 1)
    silent = fired(case.silent, name, case.minutes, 0)
    assert promtool(tmp_path, WITH_SCALER, fires, silent) == ""


@pytest.mark.tools
def test_other_releases_change_nothing(tmp_path: Path) -> None:
    tests = []
    for name in ("ErrorsFast", "ModelDown", "MemoryNearLimit", "CrashLoop", "StoreDown"):
        case = CASES[name]
        given = [
            {**one, "series": one["series"].replace('instance="hub"', 'instance="blue"')}
            for one in case.fires
        ]
        tests.append(fired(given, name, case.minutes, 0))
    assert promtool(tmp_path, WITH_SCALER, *tests) == ""


@pytest.mark.tools
def test_errors_that_have_ended_page_nobody(tmp_path: Path) -> None:
    """The short window: the share of the last hour is still too high 10 minutes after the last error."""
    given = [
        series("inferencehub_gateway_requests_total", values, front="http", model="m", status=status)
        for status, values in (("200", "0+50x120"), ("500", "0+50x60 3000x60"))
    ]
    tests = [fired(given, "ErrorsFast", 59, 1), fired(given, "ErrorsFast", 70, 0)]
    assert promtool(tmp_path, RULE, *tests) == ""


@pytest.mark.tools
def test_a_load_that_fails_before_the_first_scrape_is_told_of_for_a_quarter_of_an_hour(
    tmp_path: Path,
) -> None:
    given = loads("failed", "_x9 1x60")
    tests = [fired(given, "LoadFailed", at, expected) for at, expected in ((8, 0), (12, 1), (30, 0))]
    assert promtool(tmp_path, RULE, *tests) == ""


@pytest.mark.tools
def test_a_few_jobs_that_fail_page_nobody(tmp_path: Path) -> None:
    """Though they are all that ended: the share of one job is all or nothing."""
    name, labels = "inferencehub_gateway_jobs_ended_total", {"model": "m"}
    none = series(name, "0x60", state="succeeded", **labels)
    one, two, three = (
        [none, series(name, f"0x9 {' '.join(map(str, range(count)))} {count}x60", state="failed", **labels)]
        for count in (1, 2, 3)
    )
    tests = [fired(one, "JobsFail", 20, 0), fired(two, "JobsFail", 20, 0), fired(three, "JobsFail", 20, 1)]
    assert promtool(tmp_path, RULE, *tests, fired(three, "JobsFail", 40, 0)) == ""


@pytest.mark.tools
def test_a_pool_that_sleeps_misses_no_pod_until_something_waits(tmp_path: Path) -> None:
    asleep = merge(
        RULE,
        at(
            "inference.autoscaling",
            COMBINATIONS["scaled-to-zero"]["inference"]["pools"]["default"]["autoscaling"],
        ),
    )
    none = series("inferencehub_gateway_backends", "0x60", state="up")
    demand = "inferencehub_gateway_demand"
    labels = {"pool": "default", "model": "m", "version": "1"}
    still = fired([none, series(demand, "0x60", **labels)], "NoPod", 5, 0)
    asked = fired([none, series(demand, "1x60", **labels)], "NoPod", 5, 1)
    assert promtool(tmp_path, asleep, still, asked) == ""


@pytest.mark.tools
def test_a_scaler_that_is_gone_is_missed_only_where_there_is_to_be_one(tmp_path: Path) -> None:
    assert promtool(tmp_path, WITH_SCALER, fired([], "ScalerBlind", 10, 1)) == ""
    assert promtool(tmp_path, RULE, fired([], "ScalerBlind", 10, 0)) == ""


@pytest.mark.tools
def test_a_pod_that_ends_before_its_first_scrape_is_known_to_kube_state_metrics(tmp_path: Path) -> None:
    labels = ", ".join(f'{name}="{value}"' for name, value in RESTARTS.items())
    given: list[Series] = [
        {"series": f"kube_pod_container_status_restarts_total{{{labels}}}", "values": "0+1x60"}
    ]
    assert promtool(tmp_path, RULE, fired(given, "CrashLoop", 30, 1)) == ""


@pytest.mark.tools
def test_the_sentence_of_an_alert_names_what_it_is_about(tmp_path: Path) -> None:
    labels = {"namespace": "ml", "app_kubernetes_io_instance": "hub", "model": "m"}
    expected = {
        "exp_labels": {**labels, "severity": "critical"},
        "exp_annotations": {
            "summary": "Model m serves at no pod.",
            "runbook_url": "docs/runbooks.md#inferencehubmodeldown",
        },
    }
    test = {
        "interval": "1m",
        "input_series": CASES["ModelDown"].fires,
        "alert_rule_test": [
            {"eval_time": "5m", "alertname": "InferenceHubModelDown", "exp_alerts": [expected]}
        ],
    }
    assert promtool(tmp_path, RULE, test) == ""


@pytest.mark.tools
def test_prometheus_takes_the_files_as_they_are_rendered(tmp_path: Path) -> None:
    for values in (RULE, WITH_SCALER, ASLEEP):
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(values)}))
        command = [on_path(PROMTOOL), "check", "rules", "rules.yaml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
