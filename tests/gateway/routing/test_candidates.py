"""Which pods get a model's work: all that serve it, evenly; by signature, pool and health; shared by two gateways."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferencehub.gateway.http_api.call import LARGE_JSON
from tests.gateway.pod_processes import Name, gateway_to, pods_of
from tests.gateway.python_model import double, python_model, runs
from tests.hub import Hub, eventually, mock_model, write_model
from tests.load import Load

pytestmark = pytest.mark.long

AT_MOST_ONCE = """parameters { key: "run_at_most_once" value { string_value: "true" } }"""


async def predict(hub: Hub, model: str, *features: float) -> tuple[int, str]:
    """Status and pod of a prediction."""
    async with hub.client.post("/predict", json={"features": features, "model_name": model}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by", "")


async def test_work_is_spread_evenly(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", delay_ms=5, slots=2)
    async with pods_of(tmp_path, tmp_path, tmp_path) as pods, gateway_to(*pods) as hub:
        spread = Counter([(await predict(hub, "quick", n))[1] for n in range(300)])
        print(dict(spread))
        assert min(spread.values()) >= 60
        assert len(spread) == 3
        async with Load(hub.url, workers=64) as load:
            await eventually(lambda: load.good >= 600)
        assert min(load.served.values()) >= 0.2 * load.good
        assert len(load.served) == 3
        assert not load.failed


def shaped(repository: Path, width: int, output: str = "class_id") -> None:
    """A mock model `net` that takes `width` numbers."""
    write_model(
        repository,
        "net",
        f"""backend: "mock"
        input {{ name: "features" data_type: TYPE_FP32 dims: [{width}] }}
        output {{ name: "{output}" data_type: TYPE_INT32 dims: [1] }}
        output {{ name: "confidence" data_type: TYPE_FP32 dims: [1] }}
        instance_group {{ count: 2 }}
        parameters {{ key: "delay_ms" value {{ string_value: "1" }} }}""",
    )


async def infer_net(hub: Hub, width: int) -> tuple[int, str]:
    """Status and pod of `net` with `width` numbers."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [width], "data": [0.5] * width}
    async with hub.client.post("/v2/models/net/infer", json={"inputs": [tensor]}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by", "")


async def test_two_releases_of_a_model_stand_side_by_side(tmp_path: Path) -> None:
    shaped(tmp_path / "old", 3)
    shaped(tmp_path / "new", 4)
    async with pods_of(tmp_path / "old", tmp_path / "new") as (old, new), gateway_to(old, new) as hub:
        answers = await asyncio.gather(*[infer_net(hub, 3 + n % 2) for n in range(40)])
        assert answers == [(200, old.address), (200, new.address)] * 20
        assert (await infer_net(hub, 5))[0] == 400
        old.send(signal.SIGKILL)
        await old.ended()
        assert await infer_net(hub, 4) == (200, new.address)


SCORES = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"scores": inputs["INPUT"][:, :2]}
"""


def scoring(repository: Path, name: str, width: int) -> None:
    """A model `net` that takes `width` numbers in the input `name`."""
    config = f"""backend: "python" max_batch_size: 4
        input {{ name: "{name}" data_type: TYPE_FP32 dims: [{width}] }}
        output {{ name: "scores" data_type: TYPE_FP32 dims: [2] }}"""
    write_model(repository, "net", config, {"1/model.py": SCORES.replace("INPUT", name)})


Body = Callable[[str, list[float]], dict[str, Any]]
MADE: dict[str, Body] = {
    "/predict": lambda name, numbers: {"model_name": "net", "features": numbers},
    "/v1/models/net:predict": lambda name, numbers: {"instances": [{name: numbers}]},
    "/v2/models/net/generate": lambda name, numbers: {name: numbers},
    "/v2/models/net/generate_stream": lambda name, numbers: {name: numbers},
}


@pytest.mark.parametrize("padding", [0, LARGE_JSON])  # a thread reads the larger body, and makes the request
@pytest.mark.parametrize("path", MADE)
async def test_a_request_that_is_made_for_its_model_goes_to_the_release_that_it_fits(
    tmp_path: Path, path: str, padding: int
) -> None:
    scoring(tmp_path / "old", "a", 3)
    scoring(tmp_path / "new", "b", 4)
    async with pods_of(tmp_path / "old", tmp_path / "new") as (old, new), gateway_to(old, new) as hub:

        async def ask(name: str, width: int) -> tuple[int, str]:
            body = json.dumps(MADE[path](name, [0.5] * width)) + " " * padding
            async with hub.client.post(path, data=body) as answer:
                await answer.read()
                return answer.status, answer.headers.get("x-served-by", "")

        answers = [
            await ask("b", 4),
            *await asyncio.gather(*[ask("ab"[n % 2], 3 + n % 2) for n in range(10)]),
        ]
        assert answers == [(200, new.address), *[(200, old.address), (200, new.address)] * 5]
        assert (await ask("a", 5))[0] == 400


async def test_releases_that_take_the_same_requests_share_them(tmp_path: Path) -> None:
    shaped(tmp_path / "old", 3)
    shaped(tmp_path / "new", 3, output="class")
    async with pods_of(tmp_path / "old", tmp_path / "new") as (old, new), gateway_to(old, new) as hub:
        alone = Counter([(await infer_net(hub, 3))[1] for _ in range(40)])
        many = Counter([pod for _, pod in await asyncio.gather(*[infer_net(hub, 3) for _ in range(80)])])
    for spread in (alone, many):
        print(dict(spread))
        assert set(spread) == {old.address, new.address}
        assert min(spread.values()) >= 0.3 * spread.total()


async def test_pools_serve_their_own_models_and_only_the_unknown_is_404(tmp_path: Path) -> None:
    mock_model(tmp_path / "a", "in-a", delay_ms=1)
    mock_model(tmp_path / "b", "in-b", delay_ms=1)
    async with pods_of(tmp_path / "a", tmp_path / "b") as (a, b), gateway_to(a, b, hold_s=0.3) as hub:
        assert await predict(hub, "in-a", 1) == (200, a.address)
        assert await predict(hub, "in-b", 1) == (200, b.address)
        assert await predict(hub, "in-c", 1) == (404, "")
        b.send(signal.SIGKILL)
        await b.ended()
        assert await predict(hub, "in-a", 1) == (200, a.address)
        assert await predict(hub, "in-b", 1) == (503, "")
        assert await predict(hub, "in-c", 1) == (404, "")


async def test_a_model_that_breaks_at_one_pod_goes_on_at_the_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        mock_model(tmp_path / name, "quick", delay_ms=20, slots=2)
        python_model(tmp_path / name, "fragile", tmp_path / f"{name}-runs", more=AT_MOST_ONCE)
    async with (
        pods_of(tmp_path / "one", tmp_path / "two") as (one, two),
        gateway_to(one, two, hold_s=5.0) as hub,
        Load(hub.url, workers=8) as load,
    ):
        at = {pod.address: hub.gateway.fleet.pods[pod.address] for pod in (one, two)}
        (tmp_path / "one" / "fragile" / "1" / "broken").touch()
        # A negative number kills the model's process; that of the first pod then cannot come back.
        while at[one.address].serves("fragile"):
            status, said, _ = await double(hub, "fragile", -1.0)
            assert status == 500, said
        for _ in range(20):
            assert await double(hub, "fragile", 1.0) == (200, [2.0], two.address)
        before = load.served[one.address]
        await eventually(lambda: load.served[one.address] > before + 5)
        assert at[one.address].up
    assert not load.failed


async def test_work_that_waits_at_a_pod_whose_model_dies_goes_to_another(tmp_path: Path) -> None:
    for pod in ("one", "two"):
        python_model(tmp_path / pod, "fragile", tmp_path / f"{pod}-runs", seconds=1.0)
    async with pods_of(tmp_path / "one", tmp_path / "two") as (one, two):
        (tmp_path / "one" / "fragile" / "1" / "broken").touch()
        name = Name(one)
        async with gateway_to(one, name=name, resolve_s=0.1, hold_s=5.0) as hub:
            deadly = asyncio.create_task(double(hub, "fragile", -1.0))
            await eventually(lambda: runs(tmp_path / "one-runs"))
            waiting = asyncio.create_task(double(hub, "fragile", 3.0))
            place = hub.gateway.fleet.pods[one.address].replicas["fragile", "1"]
            await eventually(lambda: place.in_flight == 2)
            name.addresses.add(two.address)
            assert (await deadly)[0] == 500
            assert await asyncio.wait_for(waiting, 30) == (200, [6.0], two.address)


async def test_two_gateways_that_share_a_pod_lose_nothing(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", delay_ms=20, slots=1)
    async with pods_of(tmp_path) as pods, gateway_to(*pods) as one, gateway_to(*pods) as two:
        async with Load(one.url) as first, Load(two.url) as second:
            await eventually(lambda: min(first.good, second.good) >= 40, 20)
        assert not first.failed + second.failed
        back = re.compile(r'_returned_total\{.*outcome="refused".*\} (\S+)')
        refused = sum(map(float, back.findall(await one.metrics() + await two.metrics())))
        print(f"{refused:.0f} refusals went back to their lanes; {first.good} and {second.good} answers")
        assert refused > 0


@pytest.mark.parametrize(
    ("more", "expected", "times"), [(AT_MOST_ONCE, 503, 1), ("", 200, 2)], ids=["must not", "may"]
)
async def test_lost_work_runs_again_unless_its_model_must_not(
    tmp_path: Path, more: str, expected: int, times: int
) -> None:
    log = tmp_path / "runs"
    python_model(tmp_path, "slow", log, seconds=1.0, more=more)
    async with pods_of(tmp_path, tmp_path) as pods, gateway_to(*pods) as hub:
        asked = asyncio.create_task(double(hub, "slow", 4.0))
        await eventually(lambda: runs(log))
        busy = [pod for pod in pods if hub.gateway.fleet.pods[pod.address].replicas["slow", "1"].in_flight]
        busy[0].send(signal.SIGKILL)
        status, said, pod = await asked
        assert status == expected, said
        assert pod != busy[0].address
        assert len(runs(log)) == times
