"""What a gateway tells of quotas of a day: what is used and leased, what was refused, and whether the store answers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from inferencehub.core.auth.limits import Limits
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.calls.limits.lease import Lease
from inferencehub.gateway.calls.limits.quota_metrics import MOST, QuotaMetrics
from inferencehub.gateway.calls.limits.quotas import DAY_S, Quota
from tests.gateway.quota_hub import QUICK, bearer, comes, hub_with_quotas, rows_of
from tests.hub import Hub
from tests.valkey import Valkey

P = "inferencehub_gateway_quota"


async def told(hub: Hub, what: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(await hub.metrics())
        for sample in family.samples
        if sample.name == P + what
    }


async def test_what_is_used_and_refused(tmp_path: Path, jobs: str) -> None:
    limits: dict[str, dict[str, Any]] = {
        "calls": {"calls_per_day": 3, "tenant": "shop"},
        "both": {"calls_per_day": 900, "rows_per_day": 4},
    }
    async with hub_with_quotas(tmp_path, jobs, limits) as hub:
        assert await told(hub, "") == {}
        for expected in (200, 200, 200, 429, 429):
            assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == expected
        for rows, expected in ((3, 200), (2, 429), (5, 413)):
            path = "/v2/models/batches/infer"
            assert (await hub.post(path, rows_of(rows), headers=bearer("both")))[0] == expected
        shop, calls, rows_ = (
            ("calls", "key", "shop", "calls"),
            ("both", "key", "", "calls"),
            ("both", "key", "", "rows"),
        )
        assert await told(hub, "") == {shop: 3, calls: 900, rows_: 4}
        assert await told(hub, "_used") == {shop: 3, calls: 1, rows_: 3}
        leased = await told(hub, "_leased")
        assert (leased[shop], leased[rows_]) == (0, 0)
        assert 0 < leased[calls] <= 9, "a hundredth of it"
        refused = {key: count for key, count in (await told(hub, "_refused_total")).items() if count}
        expected_counts = {("calls", "key", "used_up", "shop", "calls"): 2}
        expected_counts |= {
            ("both", "key", "used_up", "", "rows"): 1,
            ("both", "key", "too_large", "", "rows"): 1,
        }
        assert refused == expected_counts
        assert len(await told(hub, "_refused_total")) == 9, "from the beginning with 0"
        asks = await told(hub, "_asks_total")
        assert asks["answered",] >= 3
        assert asks["failed",] == 0


async def test_asks_that_fail(tmp_path: Path, valkey: Valkey) -> None:
    quotas = {"calls": {"calls_per_day": 5}}
    async with hub_with_quotas(tmp_path, valkey.url, quotas) as hub:
        await valkey.stop()

        async def failed() -> bool:
            await hub.post("/predict", QUICK, headers=bearer("calls"))
            return (await told(hub, "_asks_total"))["failed",] > 0

        await comes(failed)
        assert (await told(hub, "_refused_total"))["calls", "key", "store", "", "calls"] > 0


def test_the_number_of_callers_is_bounded() -> None:
    metrics = QuotaMetrics({}, lambda: DAY_S)
    for number in range(MOST + 50):
        lease = Lease(Quota("key", f"key '{number}'", "calls"), False, ("", f"{number}"))
        metrics.begin(lease)
        metrics.refused(lease, Kind.BUSY)
    refused = next(family for family in metrics.collect() if family.name == f"{P}_refused")
    assert len(refused.samples) <= 3 * MOST + 3
    assert sum(sample.value for sample in refused.samples) == MOST + 50
    rest = [sample.value for sample in refused.samples if not sample.labels["caller"]]
    assert sum(rest) == 50


def test_a_day_that_has_ended_is_no_longer_told() -> None:
    lease, day = Lease(Quota("tenant", "tenant 't'", "rows"), False, ("t", "")), [1.5]
    metrics = QuotaMetrics({("tenant", "t", "rows"): lease}, lambda: day[0] * DAY_S)
    lease.begin(1)
    lease.most = Limits(rows_per_day=7).rows_per_day or 0
    families = {family.name: family for family in metrics.collect()}
    (sample,) = families[P].samples
    assert (sample.labels, sample.value) == ({"of": "tenant", "tenant": "t", "caller": "", "unit": "rows"}, 7)
    day[0] = 2.0
    assert next(iter(metrics.collect())).samples == []


def test_many_quotas_are_summed_up_a_few_at_a_time() -> None:
    leases = {}
    for number in range(1000):
        key = ("key", f"key '{number}'", "calls")
        lease = leases[key] = Lease(Quota(*key), False, ("", f"{number % 2}"))
        lease.begin(1)
        lease.most = 1
    *pauses, first = islice(QuotaMetrics(leases, lambda: DAY_S).text(False), 21)
    assert pauses == [""] * 20
    assert first.startswith("# HELP")
