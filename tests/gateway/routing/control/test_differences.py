"""Pods that are not as wished are seen: in a metric, by the doctor, in the index of models and in the console."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from inferencehub.core.process.doctor.finding import Level
from inferencehub.gateway.routing.control.differences import ABSENT, FIXED, OVERTAKEN, UNDER_WAY
from inferencehub.gateway.routing.control.wishes import Wish
from inferencehub.gateway.routing.doctor.wishes import FIXES
from tests.doctors import one, report_at
from tests.gateway.routing.control.loading import change, loading_gateway, value
from tests.hub import Hub, eventually, mock_model
from tests.inference.models.control.valued import until, valued
from tests.inference.pod_processes import Pod, calling_pod


def differing(hub: Hub) -> dict[str, str]:
    """Why each pod is not as wished, by its address."""
    assert hub.gateway.control is not None
    return {each.pod: each.why for each in hub.gateway.control.differences.found}


async def counted(hub: Hub) -> dict[str, float]:
    """The metric, by model."""
    return {
        sample.labels["model"]: sample.value
        for family in text_string_to_metric_families(await hub.metrics())
        for sample in family.samples
        if sample.name == "inferencehub_gateway_pods_not_as_wished"
    }


async def listed(hub: Hub) -> dict[str, Any]:
    """The entry of version 1 of m in the index."""
    _, index, _ = await hub.post("/v2/repository/index")
    return next(each for each in index if (each["name"], each.get("version")) == ("m", "1"))


async def test_where_and_why_is_seen_until_it_is_repaired(models: Path, tmp_path: Path) -> None:
    mock_model(tmp_path / "other", "quick")
    shutil.copytree(models, tmp_path / "bad")
    (tmp_path / "bad" / "m" / "1" / "value.txt").write_text("one")
    async with (
        calling_pod(models, model_control="explicit") as good,
        calling_pod(tmp_path / "bad", model_control="explicit") as bad,
        calling_pod(tmp_path / "other", model_control="explicit", repository_poll_s=0.05) as late,
        calling_pod(tmp_path / "other", model_control="explicit", pool="others") as other,
        loading_gateway(tmp_path, good, bad, late, other) as hub,
    ):
        assert (await change(hub, "load"))[0] == 400
        await eventually(lambda: differing(hub).keys() == {bad.address, late.address})
        await eventually(lambda: UNDER_WAY not in differing(hub).values())  # the next look has the reasons
        assert differing(hub)[late.address] == ABSENT
        # Until the pod's list has come again, the change is under way.
        await eventually(
            lambda: "could not convert string to float: 'one'" in differing(hub).get(bad.address, "")
        )
        why = differing(hub)[bad.address]
        assert await counted(hub) == {"m": 2}
        said = [each for each in await doctor(hub) if each.what == "model m" and "pod" in each.seen]
        assert {each.level for each in said} == {Level.WARNING}
        assert {each.seen for each in said} >= {
            f"it is to be loaded at pod {bad.address}, and it is not: {why}",
            f"it is to be loaded at pod {late.address}, and it is not: {ABSENT}",
        }
        assert "; 2 pods are not as wished: " in (await listed(hub))["reason"]
        assert hub.gateway.console.watchers.snapshots.build()["models"][0]["note"].startswith("2 pods are ")

        valued(tmp_path / "other", {"1": "1"})
        (tmp_path / "bad" / "m" / "1" / "value.txt").write_text("1")
        tell_now(hub, bad)
        await eventually(lambda: not differing(hub))
        assert await counted(hub) == {"m": 0}
        assert one(await doctor(hub), "wished models", Level.OK).seen == "all pods have them as wished"
        assert "not as wished" not in (await listed(hub))["reason"]


async def test_pods_that_take_no_loads_are_seen(models: Path, tmp_path: Path) -> None:
    async with (
        calling_pod(models, model_control="explicit") as told,
        calling_pod(models) as fixed,
        loading_gateway(tmp_path, told, fixed) as hub,
    ):
        assert await change(hub, "load") == (200, "")
        await until(lambda: is_counted(hub))
        assert not differing(hub), "it serves the model as its repository has it"
        assert await change(hub, "unload") == (200, "")
        await eventually(lambda: differing(hub) == {fixed.address: FIXED})
        found = one(await doctor(hub), "model m", Level.WARNING)
        assert found.seen == f"it is to be unloaded at pod {fixed.address}, and it is not: {FIXED}"
        assert found.fix == FIXES[FIXED]
        assert await value(hub) == 1


async def test_the_wish_for_a_model_that_has_gone_is_taken_back_by_an_unload(
    models: Path, tmp_path: Path
) -> None:
    mock_model(tmp_path / "other", "quick")
    async with (
        calling_pod(models, model_control="explicit") as first,
        loading_gateway(tmp_path, first) as hub,
    ):
        assert await change(hub, "load") == (200, "")
    async with (
        calling_pod(tmp_path / "other", model_control="explicit") as later,
        loading_gateway(tmp_path, later) as hub,
    ):
        await eventually(lambda: differing(hub) == {later.address: ABSENT})
        assert (await change(hub, "unload", "x"))[0] == 404
        assert await change(hub, "unload") == (200, "")
        await eventually(lambda: not differing(hub))
        await until(lambda: is_taken_back(hub))
        assert await counted(hub) == {"m": 0}
        assert (await change(hub, "unload"))[0] == 404, "nothing is wished any more"


async def test_a_pool_without_pods_makes_no_pods_of_others_differ(models: Path, tmp_path: Path) -> None:
    mock_model(tmp_path / "other", "quick")
    async with AsyncExitStack() as ends:
        pod = await ends.enter_async_context(calling_pod(models, model_control="explicit", pool="mine"))
        async with (
            calling_pod(tmp_path / "other", model_control="explicit", pool="others") as other,
            loading_gateway(tmp_path, pod, other) as hub,
        ):
            assert await change(hub, "load") == (200, "")
            await until(lambda: is_counted(hub))
            await ends.aclose()
            await eventually(lambda: not hub.gateway.fleet.pods[pod.address].up)
            assert hub.gateway.control is not None
            hub.gateway.control.differences.look(hub.gateway.control._wishes)
            assert not differing(hub)


async def test_a_change_that_the_store_does_not_have_is_seen(models: Path, tmp_path: Path) -> None:
    async with (
        calling_pod(models, model_control="explicit") as pod,
        loading_gateway(tmp_path, pod) as hub,
    ):
        control = hub.gateway.control
        assert control is not None
        assert await change(hub, "load") == (200, "")
        later = Wish("m", await control._kept.revision(), False, "")
        assert (await control._pods.tell(*control._pods.ready()[0], later)).kind is None
        control._pods.forget(later)  # as if the store could not be reached then
        await eventually(lambda: differing(hub) == {pod.address: OVERTAKEN})
        assert one(await doctor(hub), "model m", Level.WARNING).fix == FIXES[OVERTAKEN]
        assert await change(hub, "load") == (200, "")
        await eventually(lambda: not differing(hub))
        assert await value(hub) == 1


async def test_a_look_costs_the_wishes_and_the_models_not_their_product(tmp_path: Path) -> None:
    for number in range(40):
        mock_model(tmp_path / "many", f"m{number}")
    async with calling_pod(tmp_path / "many") as fixed, loading_gateway(tmp_path, fixed) as hub:
        await eventually(lambda: len(hub.gateway.fleet.pods[fixed.address].catalog.models) == 40)
        assert hub.gateway.control is not None
        look = hub.gateway.control.differences.look
        calls = Counter[str]()
        sys.setprofile(lambda frame, event, of: calls.update([event]))
        try:
            look({name: Wish(name, 1, True, "") for name in (f"m{number}" for number in range(100))})
        finally:
            sys.setprofile(None)
        assert calls["call"] < 1000, "the event loop stands still meanwhile"
        assert len(hub.gateway.control.differences.found) == 60


async def test_a_load_that_goes_on_is_seen(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "slow")
    program = tmp_path / "slow" / "m" / "1" / "model.py"
    held = tmp_path / "loading"
    held.touch()
    wait = f"import time\nfrom pathlib import Path\nwhile Path({str(held)!r}).exists(): time.sleep(0.01)\n"
    program.write_text(wait + program.read_text())
    async with (
        calling_pod(models, model_control="explicit") as quick,
        calling_pod(tmp_path / "slow", model_control="explicit") as slow,
        loading_gateway(tmp_path, quick, slow) as hub,
    ):
        waits = {"x-request-timeout-ms": "1"}
        assert (await hub.post("/v2/repository/models/m/load", headers=waits))[0] == 504
        await eventually(lambda: differing(hub) == {slow.address: UNDER_WAY})
        held.unlink()
        await eventually(lambda: not differing(hub))


async def doctor(hub: Hub) -> list[Any]:
    """What the doctor finds now."""
    hub.gateway.doctor.forget()
    return list((await report_at(hub.gateway.ops.port)).findings)


async def is_counted(hub: Hub) -> bool:
    """Whether the gateway knows of a wish."""
    return bool(await counted(hub))


async def is_taken_back(hub: Hub) -> bool:
    """Whether the gateway has read that the model is not wished any more."""
    assert hub.gateway.control is not None
    return not hub.gateway.control._wishes["m"].loaded


def tell_now(hub: Hub, pod: Pod) -> None:
    """Let the pause of a pod be over."""
    channel = hub.gateway.fleet.pods[pod.address].channel
    assert hub.gateway.control is not None
    assert channel is not None
    told = hub.gateway.control._pods._told[channel]
    told["m"] = told["m"]._replace(again=0)
