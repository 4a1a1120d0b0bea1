"""The version that a job gets by its header: that of a call, however it became a job, and whenever it runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import grpc
import msgspec

from inferencehub.gateway.http_api.jobs.request import Kept
from tests.gateway.routing.traffic.versions import INFER, TWO_NUMBERS, answered_by, changed, split_hub
from tests.hub import Hub
from tests.inference.pod_processes import features, infer_of

ENTRY = {"weights": {"1": 1, "2": 1}, "sticky": "x-user"}
USERS = [f"user-{number}" for number in range(8)]
LATER = {"prefer": "respond-async"}


async def version_of(hub: Hub, id: str) -> str:
    """The version that has answered a job over HTTP."""
    status, answer, _ = await hub.get(f"/v2/jobs/{id}/result?wait=20")
    assert status == 200, answer
    return str(answer["model_version"])


async def job_of(hub: Hub, user: str, **headers: str) -> str:
    """A call over HTTP that becomes a job."""
    status, job, _ = await hub.post(INFER, TWO_NUMBERS, headers={**LATER, "X-User": user, **headers})
    assert status == 202, job
    return str(job["id"])


async def test_a_job_gets_the_version_of_a_call_with_its_header(tmp_path: Path) -> None:
    async with (
        split_hub(tmp_path, ENTRY, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        infer, found = infer_of(channel), set()
        for user in USERS:
            (right,) = await answered_by(hub, 1, headers={"X-User": user})
            found.add(right)
            assert await version_of(hub, await job_of(hub, user)) == right
            metadata = (("x-user", user), ("hub-async", "wait=20"))
            assert (await infer(features("m", 1.0), metadata=metadata)).model_version == right
        assert found == {"1", "2"}


async def test_so_do_the_items_of_a_batch_by_the_header_of_its_call(tmp_path: Path) -> None:
    async with split_hub(tmp_path, ENTRY, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        lines = "".join(json.dumps({"url": INFER, "body": TWO_NUMBERS}) + "\n" for _ in range(6))
        for user in USERS[:4]:
            (right,) = await answered_by(hub, 1, headers={"X-User": user})
            sent = await hub.client.post(f"{hub.url}/v2/jobs", data=lines, headers={"X-User": user})
            job: Any = await sent.json()
            assert sent.status == 202, job
            async with hub.client.get(f"{hub.url}/v2/jobs/{job['id']}?wait=20") as stands:
                await stands.read()
            versions = await items_of(hub, job["id"])
            assert versions == [right] * 6, (user, right)


async def items_of(hub: Hub, id: str) -> list[str]:
    """The versions that have answered the items of a batch."""
    async with hub.client.get(f"{hub.url}/v2/jobs/{id}/result?wait=20") as answer:
        text = await answer.text()
    return [json.loads(line)["response"]["body"]["model_version"] for line in text.splitlines()]


def size_of(directory: Path) -> int:
    """The bytes of a store of jobs there."""
    return sum(file.stat().st_size for file in directory.glob("jobs.db*"))


async def test_a_job_keeps_little_of_a_long_header_and_gets_the_same_version(tmp_path: Path) -> None:
    """A batch has many items, each of which would have it."""
    async with split_hub(tmp_path, ENTRY, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        lines = "".join(json.dumps({"url": INFER, "body": TWO_NUMBERS}) + "\n" for _ in range(100))
        for _ in range(2):
            headers = {"X-User": token_urlsafe(40_000)}
            (right,) = await answered_by(hub, 1, headers=headers)
            assert await version_of(hub, await job_of(hub, headers["X-User"])) == right
            later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
            sent = await hub.client.post(
                f"{hub.url}/v2/jobs", data=lines, headers={**headers, "X-Job-Not-Before": later}
            )
            assert sent.status == 202, await sent.text()
            assert set(await items_of(hub, (await sent.json())["id"])) == {right}
        assert size_of(tmp_path) < 7_000_000  # 11 MB with the whole header in each


async def test_the_weights_of_the_time_when_it_runs_decide(tmp_path: Path) -> None:
    async with split_hub(tmp_path, ENTRY, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        jobs = [await job_of(hub, user, **{"X-Job-Not-Before": later}) for user in USERS]
        changed(hub, tmp_path / "traffic.json", {"weights": {"1": 1, "2": 0}, "sticky": "x-user"})
        assert {await version_of(hub, id) for id in jobs} == {"1"}


async def test_one_key_is_one_job_whether_or_not_the_file_names_a_header(tmp_path: Path) -> None:
    async with split_hub(tmp_path, ENTRY, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        key = {"Idempotency-Key": "one"}
        first = await job_of(hub, "a", **key)
        changed(hub, tmp_path / "traffic.json", {"weights": {"1": 1}})
        assert await job_of(hub, "a", **key) == first


def test_a_gateway_of_the_version_before_reads_the_rest() -> None:
    kept = Kept(b"/predict", {b"x": b"y"}, b"{}", "id", "trace", {b"x-user": b"a"})
    data, _ = kept.packed()
    assert Kept.unpacked(data) == kept

    class Former(msgspec.Struct, frozen=True, array_like=True):
        target: bytes
        fields: dict[bytes, bytes]
        body: bytes
        id: str
        trace: str = ""

    former = msgspec.msgpack.decode(data, type=Former)
    assert former == Former(b"/predict", {b"x": b"y"}, b"{}", "id", "trace")
    assert Kept.unpacked(msgspec.msgpack.encode(former)).sticky == {}
