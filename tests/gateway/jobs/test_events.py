"""How a job goes, as events: states, answers as they come, and streams that go on where they were cut."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET, socket
from time import process_time

import pytest

from inferencehub.gateway.http_api.jobs.events import JobEvents
from inferencehub.gateway.http_api.routes import endpoints
from inferencehub.gateway.jobs.submit import LOOK_S
from tests.gateway.jobs.test_jobs import ADD, INFER, SLOW, ask, ended, hub_with_jobs, running, submitted
from tests.gateway.jobs.watched import Event, numbers, texts, watched
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.hub import eventually, running_gateway
from tests.valkey import running_valkey

COUNTER = "/v2/models/counter/generate_stream"


def states(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.data["state"], event.data["attempts"]) for event in events if event.name == "state"]


async def test_states_and_answers_come_as_they_are_made(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        steps = tmp_path / "steps"
        body = {"count": 6, "steps": str(steps)}
        async with hub.client.post(f"{hub.url}{COUNTER}", json={"count": 6}) as called:
            right = [line[6:] for line in (await called.read()).splitlines() if line]
        first = await submitted(hub, COUNTER, {"count": 1, "steps": str(steps)})
        await ended(hub, first)
        job = await submitted(hub, COUNTER, body)
        async with watched(hub, job) as events:
            assert (await events.until("attempt")).data == {"attempt": 1}
            assert (await events.until("state")).data["state"] == "running"
            for number in range(1, 6):
                event = await events.until("answer")
                assert event.data["text_output"] == str(number)
                assert (await ask(hub, "GET", job))[1]["state"] == "running"
                steps.write_text("." * number)
            steps.write_text("." * 6)
            rest = await events.rest()
        assert (texts(rest), states(rest)) == (["6"], [("succeeded", 1)])
        assert rest[-1].data == (await ask(hub, "GET", job))[1]
        async with watched(hub, job) as events:
            again = await events.rest()
        assert [json.loads(data) for data in right] == [one.data for one in again if one.name == "answer"]
        assert [one.name for one in again] == ["attempt", *["answer"] * 6, "state"]


async def test_a_job_that_waits_is_watched_from_its_beginning(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        slow = await submitted(hub, *SLOW)
        await eventually(lambda: len(running(hub)) == 1)
        job = await submitted(hub, COUNTER, {"count": 2})
        async with watched(hub, job) as events:
            queued = await events.next()
            assert queued is not None
            assert (queued.name, queued.id, queued.data["state"], queued.data["place"]) == (
                "state",
                "0-0",
                "queued",
                0,
            )
            await ask(hub, "POST", f"{slow}/cancel")
            rest = await events.rest()
        assert states(rest)[-1] == ("succeeded", 1)
        assert [one.name for one in rest if one.name != "state"] == ["attempt", "answer", "answer"]


async def test_one_answer_is_no_event(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, "/v2/models/quick/infer", INFER)
        await ended(hub, job)
        async with watched(hub, job) as events:
            found = await events.rest()
        assert [one.name for one in found] == ["attempt", "state"]
        assert (found[-1].id, found[-1].data["state"]) == ("1-0-end", "succeeded")


async def test_each_answer_comes_once_however_often_the_line_is_cut(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, COUNTER, {"count": 40, "pause_s": 0.05, "width": 3})
        last, came, cuts = "", [], 0
        while not last.endswith("-end"):
            async with watched(hub, job, last) as events:
                for _ in range(5):
                    event = await events.next()
                    if event is None:
                        break
                    last = event.id or last
                    if event.name == "answer":
                        came.append(event.data["text_output"])
            cuts += 1
        assert came == [f"{number}..." for number in numbers(40)]
        assert cuts > 5
        async with hub.client.get(f"{hub.url}{job}/events", headers={"last-event-id": last}) as answer:
            assert (answer.status, await answer.read()) == (204, b"")
        async with hub.client.get(f"{hub.url}{job}/result") as answer:
            assert len(await answer.read()) == int(last.split("-")[1])


@pytest.mark.long
async def test_another_gateway_tells_the_same(tmp_path: Path) -> None:
    """Also what comes after the gateway that runs the job has left: another attempt begins anew."""
    async with running_valkey(tmp_path / "valkey") as valkey, hub_with_jobs(tmp_path, jobs=valkey.url) as hub:
        address = f"127.0.0.1:{hub.pods[0].port}"
        job = await submitted(hub, COUNTER, {"count": 30, "pause_s": 0.1}, "always")
        await eventually(lambda: len(running(hub)) == 1)
        async with running_gateway((address,), jobs=valkey.url, drain_timeout_s=0.5) as other:
            async with watched(hub, job, url=f"http://127.0.0.1:{other.port}") as events:
                assert (await events.until("attempt")).data == {"attempt": 1}
                first = await events.until("answer")
                assert first.data["text_output"] == "1"
                async with watched(hub, job, first.id) as here:
                    assert (await here.until("answer")).data["text_output"] == "2"
                await hub.gateway.stop()
                second = await events.until("attempt")
                assert (second.id, second.data) == ("2-0", {"attempt": 2})
                rest = await events.rest()
            assert texts(rest) == numbers(30)
            assert states(rest)[-1] == ("succeeded", 2)
            async with watched(hub, job, first.id, url=f"http://127.0.0.1:{other.port}") as events:
                assert texts(await events.rest()) == numbers(30)


async def test_one_that_is_tried_again_begins_anew(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, COUNTER, {"count": -3})
        async with watched(hub, job) as events:
            failed = await events.rest()
        assert (states(failed)[-1], failed[-2].data["error"]) == (
            ("failed", 1),
            "model 'counter': it is below zero",
        )
        await ask(hub, "POST", f"{job}/retry")
        async with watched(hub, job, failed[-1].id) as events:
            again = await events.rest()
        assert states(again)[-1] == ("failed", 2)
        assert texts(again[:-2]) == numbers(3)  # then come the error and the last state
        assert [one.data for one in again if one.name == "attempt"] == [{"attempt": 2}]


@pytest.mark.long
async def test_it_ends_when_the_gateway_does(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path, drain_timeout_s=20.0) as hub:
        job = await submitted(hub, COUNTER, {"count": 30, "pause_s": 0.1})
        async with watched(hub, job) as events:
            await events.until("answer")
            stopping = asyncio.get_running_loop().create_task(hub.gateway.stop())
            rest = await events.rest()
            assert not stopping.done(), "the job may go on in its grace"
        assert len(texts(rest)) < 20
        assert states(rest) == []
        await stopping


@pytest.mark.long
async def test_it_ends_after_its_time_and_goes_on_in_another(tmp_path: Path) -> None:
    """Also when nothing happens: comments keep the line open meanwhile."""
    async with hub_with_jobs(tmp_path) as hub:
        assert hub.gateway.jobs is not None
        jobs = hub.gateway.jobs.jobs
        hub.gateway.edge.find = endpoints(
            hub.gateway.calls, others=lambda path: JobEvents(jobs, path.split("/")[3], 0.2)
        )
        job = await submitted(hub, COUNTER, {"count": 2, "pause_s": 3.0})
        async with watched(hub, job, x_request_timeout_ms="2000") as events:
            found = await events.rest()
            assert events.comments > 1
        assert (texts(found), states(found)[-1]) == (["1"], ("running", 1))
        async with watched(hub, job, found[-1].id) as events:
            rest = await events.rest()
        assert (texts(rest), states(rest)[-1]) == (["2"], ("succeeded", 1))


async def test_one_that_is_deleted_is_told_of(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, *SLOW)
        async with watched(hub, job) as events:
            await events.until("attempt")
            await ask(hub, "DELETE", job)
            rest = await events.rest()
        assert rest[-1] == ("", "", {"error": f"there is no job '{job.rpartition('/')[2]}'"})


@pytest.mark.long
async def test_a_store_that_is_away_cuts_no_stream(tmp_path: Path) -> None:
    async with running_valkey(tmp_path / "valkey") as valkey, hub_with_jobs(tmp_path, jobs=valkey.url) as hub:
        job = await submitted(hub, COUNTER, {"count": 20, "pause_s": 0.1}, "always")
        async with watched(hub, job) as events:
            assert (await events.until("answer")).data["text_output"] == "1"
            await valkey.stop()
            await asyncio.sleep(1.0)  # some looks
            await valkey.start()
            rest = await events.rest()
        assert texts(rest)[-1] == "20"
        assert ["1", *texts(rest)] == numbers(20)


async def test_who_may_watch_and_from_where(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    keys = [entry("all", tenant="x"), entry("few", tenant="x", models=["adds"]), entry("admin", tenant="y")]
    keys.append(entry("two", tenant="x", models=["adds", "quick"]))
    file.write_text(json.dumps({"keys": keys}))
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        job = await submitted(hub, "/v2/models/quick/infer", INFER, **bearer("all"))
        path = f"{job}/events"
        for headers, status in (
            (bearer("few"), 404),
            (bearer("admin"), 404),
            ({}, 401),
            ({**bearer("all"), "last-event-id": "x"}, 400),
        ):
            found = await ask(hub, "GET", path, **headers)
            assert (found[0], "error" in found[1]) == (status, True)
        assert found[1]["error"] == "Last-Event-ID: expected the id of an event of this job, got 'x'"
        items = [
            {"url": "/v2/models/adds/infer", "body": {"inputs": [ADD]}},
            {"url": "/v2/models/quick/infer", "body": INFER},
        ]
        _, batch, _ = await ask(hub, "POST", "/v2/jobs", items, **bearer("two"))
        async with watched(hub, f"/v2/jobs/{batch['id']}", **bearer("two")) as events:
            assert (await events.rest())[-1].data["state"] == "succeeded"
        assert (await ask(hub, "GET", f"/v2/jobs/{batch['id']}/events", **bearer("few")))[0] == 404
        assert (await ask(hub, "POST", path, **bearer("all")))[0] == 405
        assert (await ask(hub, "GET", "/v2/jobs/none/events", **bearer("all")))[0] == 404


async def test_without_a_store_there_are_none(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path, jobs="") as hub:
        assert (await ask(hub, "GET", "/v2/jobs/1/events"))[0] == 501


@pytest.mark.parametrize("how", ["limit", "withdrawn"])
async def test_a_stream_is_a_call_of_its_key(tmp_path: Path, how: str) -> None:
    file = key_file(tmp_path)
    file.write_text(json.dumps({"keys": [entry("all", concurrency=1), entry("few")]}))
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        job = await submitted(hub, *SLOW, **bearer("all"))
        async with watched(hub, job, **bearer("all")) as events:
            await events.until("attempt")
            if how == "limit":
                assert (await ask(hub, "GET", job, **bearer("all")))[0] == 429
            else:
                file.write_text(json.dumps({"keys": [entry("few")]}))
                rest = await events.rest()
                assert rest[-1] == ("", "", {"error": "the key is unknown"})


@pytest.mark.timing
async def test_a_caller_that_reads_nothing_costs_nothing(tmp_path: Path) -> None:
    """And reads all of it later."""
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, COUNTER, {"count": 300, "width": 40_000})
        with socket() as caller:
            caller.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
            await asyncio.to_thread(caller.connect, ("127.0.0.1", hub.gateway.port))
            caller.sendall(f"GET {job}/events HTTP/1.0\r\nhost: a\r\n\r\n".encode())
            await ended(hub, job)
            await eventually(lambda: hub.gateway.bytes_held.held > 0)
            await asyncio.sleep(LOOK_S)
            used = process_time()
            await asyncio.sleep(2)
            assert process_time() - used < 0.3
            assert hub.gateway.bytes_held.held < 2**20
            pieces = []
            while piece := await asyncio.to_thread(caller.recv, 2**20):
                pieces.append(piece)
        lines = [line for line in b"".join(pieces).splitlines() if b"text_output" in line]
        async with hub.client.get(f"{hub.url}{job}/result") as answer:
            assert lines == (await answer.read()).split(b"\n\n")[:-1]
