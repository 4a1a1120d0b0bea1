"""Python models that call other models through the gateway: values, errors, ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic

import pytest
import uvloop

from inferencehub.core.auth.key_file import digest, new_key
from tests.collector import collecting
from tests.cycles import unfreed, without_collector
from tests.hub import Hub, running_hub
from tests.inference.runtimes.python.acting_model import until
from tests.inference.runtimes.python.calling_models import calling_hub, post, write_models
from tests.inference.runtimes.python_worker.test_start import HERE, OWN, environment

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(params=["async", "sync"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    write_models(tmp_path, request.param)
    async with calling_hub(tmp_path) as running:
        yield running


def ended(hub: Hub, models: Path) -> Callable[[], bool]:
    """Whether the model `double` has been told to stop, and no call of any model runs any more."""

    def look() -> bool:
        lanes = [model.lane for pod in hub.pods for model in pod.models]
        return (models / "double/1/ended").exists() and all(lane is None or lane.idle for lane in lanes)

    return look


async def test_a_model_gets_the_outputs_of_another(hub: Hub) -> None:
    assert await post(hub, [1, 2.5]) == (200, [2, 5])
    assert await post(hub, [1], do="many") == (200, [2 * sum(1 + n for n in range(50))])
    assert await post(hub, [3_000_000], do="large") == (200, [0])


ERRORS = {
    "nobody": ("not_found", "model 'nobody' is unknown"),
    "refuse": ("bad_input", "model 'refuse': not this"),
    "fail": ("model_failed", "model 'fail' failed on this request; its pod's log says why"),
}


async def test_an_error_has_its_kind_and_names_the_other_model(hub: Hub) -> None:
    for model, (kind, detail) in ERRORS.items():
        status, sentence = await post(hub, [1], do="caught", model=model)
        assert status == 400
        assert sentence.startswith(f"model 'caller': {kind}|{model}|{detail}")
        status, sentence = await post(hub, [1], model=model)  # it does not catch the error
        assert status == 500
        assert sentence.startswith(f"model 'caller': call of model '{model}': {detail}")


async def test_it_is_too_large_to_be_sent(hub: Hub) -> None:
    status, sentence = await post(hub, [2**24 + 2], do="large")
    expected = "its inputs have 67108872 bytes, expected at most 67108864"
    assert (status, sentence) == (500, f"model 'caller': call of model 'double': {expected}")
    assert await post(hub, [1]) == (200, [2])


async def test_the_deadline_is_that_of_the_caller(hub: Hub, tmp_path: Path) -> None:
    began = monotonic()
    status, _ = await post(hub, [1], {"X-Request-Timeout-Ms": "500"}, do="asleep")
    assert status == 504
    assert monotonic() - began < 10
    await until(ended(hub, tmp_path))
    assert await post(hub, [1]) == (200, [2])


async def test_a_caller_that_leaves_ends_the_call_of_the_other_model(hub: Hub, tmp_path: Path) -> None:
    call = asyncio.create_task(post(hub, [1], do="asleep"))
    await until((tmp_path / "caller/1/begun").exists)
    call.cancel()
    await until(ended(hub, tmp_path))
    assert await post(hub, [1]) == (200, [2])


async def test_a_pod_without_the_setting_says_so(tmp_path: Path) -> None:
    write_models(tmp_path)
    async with running_hub(tmp_path) as hub:
        status, sentence = await post(hub, [1], do="caught")
    expected = "its pod knows no gateway, expected the setting HUB_GATEWAY"
    assert (status, sentence) == (400, f"model 'caller': unsupported|double|{expected}")


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[Hub]:
    write_models(tmp_path)
    async with calling_hub(tmp_path) as running:
        yield running


async def test_models_that_call_each_other_come_to_an_end(waiting: Hub) -> None:
    status, sentence = await post(waiting, [0], do="deep")
    assert status == 500
    assert sentence.count("call of model 'caller'") == 9
    assert sentence.endswith("it would be 9 calls of models within each other, expected at most 8")
    # A caller can only lower what models may do.
    for said, deeper in ((6, 3), (-5, 9), ("x", 9), (True, 9), (99, 1)):
        _, sentence = await post(waiting, [0], do="deep", call_depth=said)
        assert sentence.count("call of model 'caller'") == deeper, said


async def test_the_other_model_sees_the_id_the_trace_and_the_deadline(tmp_path: Path) -> None:
    write_models(tmp_path)
    headers = {"X-Request-Id": "a-17", "traceparent": TRACE, "X-Request-Timeout-Ms": "100000"}
    with collecting() as collector:
        async with calling_hub(tmp_path, otlp_endpoint=collector.url) as hub:
            _, sentence = await post(hub, [1], headers, do="caught", model="about")
    id, traceparent, remaining, parameters = sentence.partition("model 'about': ")[2].split("|")
    assert (id, parameters) == ("a-17", "[]")
    assert traceparent[:36] == TRACE[:36]
    assert 90 < float(remaining) <= 100


async def test_calls_of_one_model_run_side_by_side(waiting: Hub) -> None:
    answers = await asyncio.gather(*[post(waiting, [n], do="many") for n in range(8)])
    assert answers == [(200, [2 * sum(n + more for more in range(50))]) for n in range(8)]


async def test_a_call_that_the_model_gives_up_ends(waiting: Hub, tmp_path: Path) -> None:
    late = {"X-Request-Timeout-Ms": "10000"}
    assert await post(waiting, [4], late, do="enough") == (200, [4])  # while the model still runs
    assert (tmp_path / "double/1/ended").exists()


async def test_a_task_of_the_model_that_outlives_its_call_is_cancelled(waiting: Hub, tmp_path: Path) -> None:
    assert await post(waiting, [4], do="outlived") == (200, [4])
    await until((tmp_path / "double/1/ended").exists)
    assert await post(waiting, [4], do="outlives") == (200, [1])


async def test_a_thread_beside_the_event_loop_may_wait_for_it(waiting: Hub) -> None:
    assert await post(waiting, [4], do="in_thread") == (200, [8])
    assert (await post(waiting, [4], do="blocks"))[0] == 500
    assert (await post(waiting, [4], do="untyped"))[0] == 500
    assert await post(waiting, [4], do="in_thread") == (200, [8])


async def test_a_call_that_is_typed_wrongly_costs_only_itself(waiting: Hub) -> None:
    other = asyncio.create_task(post(waiting, [4], {"X-Request-Timeout-Ms": "10000"}, do="enough"))
    status, sentence = await post(waiting, [1], do="mistyped")
    said = "the version of the call is 1, expected a text"
    assert (status, sentence) == (400, f"model 'caller': 7 of 7; {said}")
    assert await other == (200, [4])


async def test_parameters_that_do_not_fit_beside_the_inputs_cost_only_the_call(waiting: Hub) -> None:
    status, sentence = await post(waiting, [1], do="wordy")
    assert (status, "bytes with names and parameters, expected at most 68157440" in sentence) == (500, True)


async def test_a_process_that_dies_leaves_no_call_behind(waiting: Hub, tmp_path: Path) -> None:
    status, sentence = await post(waiting, [1], do="exit")
    assert (status, sentence) == (500, "model 'caller': its process ended (exit status 3) while it ran")
    await until(ended(waiting, tmp_path))
    assert await post(waiting, [1]) == (200, [2])


async def test_a_call_that_is_over_makes_no_more_calls(tmp_path: Path) -> None:
    write_models(tmp_path, "sync")
    async with calling_hub(tmp_path) as hub:
        for _ in range(3):  # a thread of it still waits for another model
            assert await post(hub, [7], do="left") == (200, [7])
            assert await post(hub, [1], do="many") == (200, [2 * sum(1 + n for n in range(50))])
        await until(ended(hub, tmp_path))


async def test_a_gateway_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    write_models(tmp_path)
    async with running_hub(tmp_path, pod={"gateway": "127.0.0.1:1"}) as hub:
        status, sentence = await post(hub, [1], do="caught")
    assert status == 400
    assert (
        sentence == "model 'caller': not_ready|double|the gateway cannot be reached; the pod's log says why"
    )


@pytest.mark.long
async def test_a_model_with_an_environment_of_its_own_calls_as_any_other(tmp_path: Path) -> None:
    write_models(tmp_path, more=OWN % HERE)
    environment(tmp_path / "caller" / "environment", "numpy")
    async with calling_hub(tmp_path) as hub:
        assert await post(hub, [1, 2.5]) == (200, [2, 5])
        assert await post(hub, [3_000_000], do="large") == (200, [0])
        assert (await post(hub, [1], do="caught", model="fail"))[1].startswith(
            "model 'caller': model_failed|fail|model 'fail' failed"
        )


@pytest.mark.long
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_calls_leave_nothing_that_only_the_collector_frees(tmp_path: Path, kind: str) -> None:
    write_models(tmp_path, kind)

    async def left() -> str:
        async with calling_hub(tmp_path) as hub:
            for _ in range(2):
                assert await post(hub, [1], do="many") == (200, [2550])
            with without_collector():
                assert await post(hub, [1], do="many") == (200, [2550])
                assert await post(hub, [2_000], do="large") == (200, [0])
                for name in ("nobody", "refuse", "fail"):
                    assert (await post(hub, [1], model=name))[0] == 500
                late = {"X-Request-Timeout-Ms": "200"}
                assert (await post(hub, [1], late, do="asleep"))[0] == 504
                await until(ended(hub, tmp_path))
                return unfreed()

    assert uvloop.run(left()) == ""


async def test_a_pod_shows_the_gateway_a_key_of_its_own_and_takes_a_new_one(tmp_path: Path) -> None:
    write_models(models := tmp_path / "models")
    mine, pods = new_key("me"), new_key("pods")
    may = {mine: "caller", pods: "double"}
    entries = [
        {"id": model, "sha256": digest(key.encode()).hex(), "models": [model]} for key, model in may.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    key = tmp_path / "key"
    key.write_text(new_key("old"))
    given = {"pod": {"gateway_key": str(key)}, "api_keys": str(tmp_path / "keys.json")}
    async with calling_hub(models, **given) as hub:
        headers = {"x-api-key": mine}
        _, sentence = await post(hub, [1], headers, do="caught")
        assert sentence.startswith("model 'caller': unauthenticated|double|")
        key.write_text(pods + "\n")
        (found,) = [pod.gateway_key for pod in hub.pods]
        assert found is not None
        found.look()
        assert await post(hub, [1], headers) == (200, [2])
        _, sentence = await post(hub, [1], headers, do="caught", model="refuse")
        assert sentence.startswith("model 'caller': forbidden|refuse|")
        key.write_text("")
        found.look()
        assert "HUB_GATEWAY_KEY names" in found.reason
        assert await post(hub, [1], headers) == (200, [2])
