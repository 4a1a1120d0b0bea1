"""What the console's events say, at both ports: what was called is what is shown, and each sees what they may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from inferencehub.core.auth.caller import ANYONE, Action, Caller
from inferencehub.core.auth.key_file import USUAL
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.console.calls import EndedCalls
from inferencehub.gateway.console.snapshot import seen_by, without_calls
from inferencehub.gateway.console.stream import Stream
from inferencehub.gateway.console.watchers import MOST
from tests.gateway.console.looking import looking, of
from tests.gateway.keyed_hub import ENTRIES, bearer, hub_with_keys
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub

INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    mock_model(tmp_path / "models", "quick")
    mock_model(tmp_path / "models", "slow", delay_ms=50, slots=1)
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "models" / "broken" / "config.pbtxt").write_text('backend: "mock"')
    async with running_hub(
        tmp_path / "models", jobs="sqlite::memory:", trace_slow_ms=20, hold_s=0.0
    ) as running:
        yield running


async def ask(hub: Hub, model: str = "quick", times: int = 1, **headers: Any) -> None:
    answers = [hub.post(f"/v2/models/{model}/infer", INFER, headers=headers) for _ in range(times)]
    await asyncio.gather(*answers)


async def test_calls_are_counted_in_the_second_and_in_the_minute(hub: Hub) -> None:
    async with looking(hub) as look:
        name, hello = await look.event()
        assert (name, hello["whole"], hello["slow_s"]) == ("hello", True, 0.02)
        first = await look.snapshot()
        assert first["traffic"] == [], "what was before somebody looked is not known"
        await ask(hub, "slow", 5)
        shown = await look.snapshot(lambda shown: of(shown["traffic"], "slow").get("count") == 5)
        row = of(shown["traffic"], "slow")
        assert row["statuses"] == {"200": 5}
        assert sum(n for _, n in row["minute"]) == 5
        p50, p95, p99 = row["quantiles"]
        assert 0.05 < p50 <= p95 <= p99
        bounds = hello["scales"]["seconds"]
        assert p99 <= bounds[max(at for at, _ in row["minute"])]
        reasons = dict(zip(hello["scales"]["reasons"], row["reasons"], strict=True))
        assert reasons == {"slot_free": 0, "full": 0, "alone": 5}, "the mock model does not batch"
        assert row["batches"][0] == 5
        later = await look.snapshot()
        assert of(later["traffic"], "slow")["now"] == []
        assert of(later["traffic"], "slow")["count"] == 5


async def test_pods_lanes_demand_and_models_are_as_the_gateway_sees_them(hub: Hub) -> None:
    calls = asyncio.create_task(ask(hub, "slow", 400))  # longer than it takes to look
    async with looking(hub, ops=True) as look:
        shown = await look.snapshot(lambda shown: of(shown["lanes"], "slow")["waiting"])
        (pod,) = shown["pods"]
        assert (pod["address"], pod["state"]) == (f"127.0.0.1:{hub.pods[0].port}", "up")
        served = of(pod["models"], "slow")
        assert (served["version"], served["slots"], served["running"]) == ("1", 1, 2), "and one on its way"
        lane = of(shown["lanes"], "slow")
        assert (lane["running"], lane["slots"], lane["pods"], lane["open"]) == (2, 1, 1, True)
        assert of(shown["models"], "quick") == {"model": "quick", "reason": "", "versions": ["1"], "note": ""}
        broken = of(shown["models"], "broken")
        assert broken["versions"] == []
        assert "config.pbtxt" in broken["reason"]
        await look.snapshot(lambda shown: of(shown["demand"], "slow")["now"] > 1)
        assert sum(shown["pools"].values()) == 1
    calls.cancel()
    await asyncio.wait({calls})


async def test_jobs_that_have_ended_are_shown(hub: Hub) -> None:
    await ask(hub, prefer="respond-async")
    async with looking(hub, ops=True) as look:
        shown = await look.snapshot(lambda shown: of(shown["jobs"]["models"], "quick").get("ended"))
        assert of(shown["jobs"]["models"], "quick")["ended"] == {"succeeded": 1}
        assert shown["jobs"]["store"] is True


async def test_the_last_calls_have_their_bills_and_nothing_of_what_they_said(hub: Hub) -> None:
    await ask(hub)  # neither slow nor failed
    await ask(hub, "slow", 1, **{"x-request-id": "the-slow-one"})
    await ask(hub, "broken")
    await hub.post("/v2/models/quick/infer", {"inputs": [{"name": "my secret", "data": ["word"]}]})
    await hub.get("/v2/models/nothing")
    async with looking(hub) as look:
        calls = (await look.snapshot())["calls"]
    calls = [call for call in calls if call["model"] != "quick" or call["total"] < 20]  # on a busy machine
    assert sorted((call["why"], call["status"], call["kind"], call["model"]) for call in calls) == [
        ("failed", 503, "not_ready", ""),
        ("refused", 400, "bad_input", ""),
        ("slow", 200, "ok", "slow"),
    ]
    slow = of(calls, "slow")
    assert slow["id"] == "the-slow-one"
    assert slow["pod"] == f"127.0.0.1:{hub.pods[0].port}"
    assert slow["compute"] >= 50
    parts = sum(slow[part] for part in ("queue", "batch", "network", "compute"))
    assert parts <= slow["total"] + 0.01
    assert "secret" not in str(calls)
    assert "word" not in str(calls)


async def test_a_call_that_waits_for_a_job_is_not_slow_and_its_attempt_is(hub: Hub) -> None:
    await ask(hub, "slow", 1, prefer="respond-async, wait=10")
    async with looking(hub) as look:
        shown = await look.snapshot(lambda shown: shown["calls"])
    assert [(call["front"], call["why"]) for call in shown["calls"]] == [("job", "slow")]


async def test_a_flood_of_refusals_leaves_the_failures(hub: Hub) -> None:
    await ask(hub, "broken")
    for _ in range(60):
        await hub.post("/v2/models/quick/infer", {})
    async with looking(hub) as look:
        calls = (await look.snapshot())["calls"]
    assert [call["why"] for call in calls].count("refused") == 50
    assert [call["why"] for call in calls].count("failed") == 1


async def test_the_ops_port_has_no_calls_and_no_way_to_call(hub: Hub) -> None:
    await ask(hub, "broken")
    async with looking(hub, ops=True) as look:
        assert (await look.event())[1]["whole"] is False
        shown = await look.snapshot()
        assert "calls" not in shown
        assert "tenant" not in str(shown)
    ops = f"http://127.0.0.1:{hub.gateway.ops.port}"
    for name, status in (("app.js", 200), ("console.css", 200), ("try.js", 404), ("calls.js", 404)):
        async with hub.client.get(f"{ops}/console/{name}") as answer:
            assert answer.status == status, name
        async with hub.client.get(f"{hub.url}/console/{name}") as answer:
            assert answer.status == 200, name
    async with hub.client.get(f"{ops}/nothing") as answer:
        assert (await answer.json())["error"].endswith(", /console")


async def test_both_ports_have_the_page_with_its_policy(hub: Hub) -> None:
    for url in (hub.url, f"http://127.0.0.1:{hub.gateway.ops.port}"):
        async with hub.client.get(f"{url}/console") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
        async with hub.client.head(f"{url}/console/events") as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
        async with hub.client.post(f"{url}/console") as answer:
            assert answer.status == 405


async def test_callers_see_their_models_and_the_calls_of_their_tenant(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        async with hub.client.get(f"{hub.url}/console") as answer:
            assert answer.status == 200, "the page is for everybody"
        status, _, _ = await hub.get("/console/events")
        assert status == 401
        for key in ("all", "few"):
            await hub.post("/v2/models/quick/infer", {}, headers=bearer(key))
        seen = {}
        for key in ("all", "few", "admin"):
            async with looking(hub, headers=bearer(key)) as look:
                shown = await look.snapshot()
            assert {row["model"] for row in shown["lanes"]} == (
                {"quick"} if key == "few" else {"quick", "hidden"}
            )
            assert {row["model"] for row in shown["pods"][0]["models"]} == {
                row["model"] for row in shown["models"]
            }
            seen[key] = {call["caller"] for call in shown["calls"]}
        assert seen == {"all": {"all"}, "few": {"few"}, "admin": {"all", "few"}}


async def test_a_gateway_may_have_it_on_the_ops_port_alone(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path, console=False) as hub:
        for path in ("/console", "/console/app.js", "/console/events"):
            status, answer, _ = await hub.get(path)
            assert (status, "there is nothing at" in answer["error"]) == (404, True)
        async with looking(hub, ops=True) as look:
            assert (await look.snapshot())["gateway"]["name"]


async def test_one_snapshot_serves_all_who_look_and_none_is_made_for_nobody(hub: Hub) -> None:
    watchers = hub.gateway.console.watchers
    async with looking(hub) as one, looking(hub, ops=True) as other:
        times = [(await one.snapshot())["now"] for _ in range(3)]
        others = [(await other.snapshot())["now"] for _ in range(3)]
        assert len(set(times) & set(others)) >= 2
        assert times[2] - times[1] > 0.45, "one a second; after a pause of the event loop, half of it"
        assert len(watchers) == 2
    await eventually(lambda: len(watchers) == 0)
    assert watchers.newest is None
    spent = watchers.spent_s
    await asyncio.sleep(1.2)
    assert watchers.spent_s == spent


async def test_an_event_loop_that_was_held_up_has_no_two_snapshots_at_once(hub: Hub) -> None:
    async with looking(hub) as look:
        await look.snapshot()
        sleep(2.2)  # noqa: ASYNC251  # this is what holds it up
        times = [(await look.snapshot())["now"] for _ in range(2)]
        assert times[1] - times[0] > 0.45


async def test_there_is_a_limit_to_those_who_look_at_each_port(hub: Hub) -> None:
    streams = [looking(hub) for _ in range(MOST)]
    for stream in streams:
        await stream.__aenter__()
    status, answer, headers = await hub.get("/console/events")
    assert (status, headers["retry-after"]) == (429, "1")
    assert "look at the console of this gateway already" in answer["error"]
    async with looking(hub, ops=True) as look:
        assert await look.snapshot()
    for stream in streams:
        await stream.__aexit__(None, None, None)
    await eventually(lambda: len(hub.gateway.console.watchers) == 0)
    async with looking(hub) as look:
        assert await look.snapshot()


async def test_a_gateway_that_drains_ends_them(hub: Hub) -> None:
    async with looking(hub) as look, looking(hub, ops=True) as other:
        await look.snapshot()
        await other.snapshot()
        await hub.gateway.drain()
        names = []
        while (event := await look.event())[0]:
            names.append(event[0])
        assert names[-1] == "end"
        while (await other.event())[0]:
            pass
    status, answer, _ = await hub.get("/console/events")
    assert (status, answer["error"]) == (503, "this gateway ends, another one shows its console")


async def test_who_reads_nothing_is_ended(hub: Hub) -> None:
    watchers, sent = hub.gateway.console.watchers, list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("more_body") and len(sent) > 3:
            await asyncio.Event().wait()  # a connection whose caller reads nothing more

    stream = Stream(watchers, "ops", lambda: "ops", without_calls, lambda: None, patience_s=0.1)
    async with asyncio.timeout(10):
        await stream({"type": "http"}, receive, send)
    assert [one.get("more_body") for one in sent] == [None, True, True, True, False]
    assert len(watchers) == 0


async def receive() -> Any:
    """Nothing comes from the caller."""
    await asyncio.Event().wait()


async def test_gateways_are_counted_also_where_there_are_no_limits(caplog: pytest.LogCaptureFixture) -> None:
    async with running_gateway(("127.0.0.1:1",), gateways="no-such-gateways.invalid"):
        await eventually(lambda: "gateways cannot be counted" in caplog.text)


@pytest.mark.long
async def test_a_stream_ends_when_its_key_is_withdrawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        hub_with_keys(tmp_path) as hub,
        looking(hub, headers=bearer("all")) as look,
        looking(hub, headers=bearer("few")) as other,
    ):
        await look.snapshot()
        kept = [entry for entry in ENTRIES if entry["id"] != "all"]
        (tmp_path / "keys.json").write_text(json.dumps({"keys": kept}))
        async with asyncio.timeout(30):
            while (event := await look.event())[0] in ("hello", "snapshot"):
                pass
        assert event == ("refused", {"error": "the key is unknown"})
        told = [record for record in caplog.records if record.message == "refused"]
        assert [record.__dict__["caller"] for record in told] == ["all"], "the audit log has it"
        assert (await look.event())[0] == ""
        assert await other.snapshot()


@pytest.mark.long
async def test_a_stream_shows_what_its_key_may_see_now(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub, looking(hub, headers=bearer("admin")) as look:
        await hub.post("/v2/models/quick/infer", {}, headers=bearer("all"))
        before = await look.snapshot(lambda shown: shown["calls"])
        assert {row["model"] for row in before["models"]} == {"quick", "hidden"}
        less = [entry | {"models": ["quick"], "actions": ["describe"]} for entry in ENTRIES]
        (tmp_path / "keys.json").write_text(json.dumps({"keys": less}))
        shown = await look.snapshot(lambda shown: not shown["calls"])
        assert {row["model"] for row in shown["models"]} == {"quick"}


def test_the_models_of_a_caller_are_not_behind_those_of_others() -> None:
    rows = [{"model": f"model-{at:03}", "waiting": 0, "running": at, "others": 0} for at in range(300)]
    each: dict[str, Any] = dict.fromkeys(("lanes", "models", "splits", "demand", "traffic"), rows)
    pods = [{"address": str(at), "models": rows} for at in range(100)]
    snapshot = {**each, "pods": pods, "jobs": {"models": rows}, "calls": [], "counts": {"models": 300}}
    few = seen_by(Caller("few", "", ["model-2?9"], USUAL), snapshot)
    last = [f"model-2{at}9" for at in range(10)]
    for shown in (few, few["jobs"], few["pods"][0]):
        assert {row["model"] for row in shown["models"]} == set(last)
    for name in ("lanes", "demand", "splits"):
        assert [row["model"] for row in few[name]] == last, name
    for whole in (seen_by(ANYONE, snapshot), without_calls(snapshot)):
        assert (len(whole["models"]), whole["counts"]["models"]) == (100, 300), (
            "there are more than are shown"
        )
        assert (len(whole["lanes"]), len(whole["demand"]), len(whole["jobs"]["models"])) == (100, 100, 100)
        assert len(whole["splits"]) == 100
        assert [row["model"] for row in whole["pods"][7]["models"]][:2] == ["model-299", "model-298"]
        assert {(len(pod["models"]), pod["more"]) for pod in whole["pods"]} == {(20, 280)}


def test_a_token_and_a_key_of_one_name_do_not_see_each_other() -> None:
    ended = EndedCalls()
    callers = [Caller("bob", "", ["*"], USUAL, who=who) for who in ("key 'bob'", "the token of 'bob'")]
    callers.append(Caller("bob", "search", ["*"], USUAL))
    for at, caller in enumerate(callers):
        exchange = Exchange(str(at))
        exchange.caller, exchange.kind, exchange.action = caller, "bad_input", Action.INFER
        ended.note("http", exchange, 400, 0.1)
    rows: dict[str, list[Any]] = {
        name: [] for name in ("lanes", "models", "splits", "demand", "traffic", "pods")
    }
    snapshot: dict[str, Any] = {**rows, "counts": {}, "jobs": None, "calls": ended.newest()}
    seen = [[call["id"] for call in seen_by(caller, snapshot)["calls"]] for caller in callers]
    assert seen == [["0"], ["1"], ["2"]]


@pytest.mark.timing
async def test_who_looks_costs_a_busy_gateway_less_than_a_hundredth(hub: Hub) -> None:
    watchers = hub.gateway.console.watchers
    async with looking(hub) as one, looking(hub, ops=True) as other:
        began = (await one.snapshot())["now"]
        while (shown := await one.snapshot())["now"] - began < 4:
            await ask(hub, "quick", 50)
            await ask(hub, "slow", 5)
            await ask(hub, "broken", 50)
        assert await other.snapshot()
        assert len(shown["calls"]) > 50
        assert 0 < watchers.spent_s < 0.01 * (shown["now"] - began)
