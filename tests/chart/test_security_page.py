"""The values in docs/security.md can be installed, and they do what its checklist says."""

from __future__ import annotations

from typing import Any

import yaml

from tests.chart.rendering import CHART, environ, merge, of_kind, one, pods, read_values, render
from tests.pages import FENCED, page


def hardened() -> dict[str, Any]:
    """The values of the page over those for production."""
    (found,) = [text for language, text in FENCED.findall(page("docs/security.md")) if language == "yaml"]
    return merge(read_values(CHART / "values-production.yaml"), yaml.safe_load(found))


def test_every_port_for_calls_speaks_tls_and_callers_need_a_key() -> None:
    objects = render(hardened())
    gateway = environ(one(objects, "Deployment", "gateway")["spec"]["template"]["spec"])
    inference = environ(one(objects, "Deployment", "default")["spec"]["template"]["spec"])
    assert {"HUB_API_KEYS", "HUB_TLS_CERT", "HUB_TIER_TLS_CERT"} <= gateway.keys()
    assert {"HUB_TIER_TLS_CERT", "HUB_TIER_TLS_CLIENT_NAMES"} <= inference.keys()
    names = [entry["name"] for entry in one(objects, "Pod", "-test")["spec"]["containers"][0]["env"]]
    assert "KEY" in names


def test_no_rule_for_callers_metrics_and_dns_is_for_everybody() -> None:
    objects = render(hardened())
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        for rule in [*spec.get("ingress", []), *spec["egress"]]:
            peers = rule.get("from", rule.get("to"))
            assert peers, rule
            assert all(any(selector.get("matchLabels") for selector in peer.values()) for peer in peers), rule
            assert "inferencehub/scrape" not in str(rule)
    assert len(list(pods(objects))) == 3
