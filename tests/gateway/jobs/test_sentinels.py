"""Jobs in a store that fails over: sentinels say which server is the master."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.valkey.client import CONNECT_S, SENTINEL_S, clients_of
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.gateway.settings.jobs import is_store
from tests.gateway.jobs.stores import job, states
from tests.gateway.jobs.test_jobs import ADD, INFER, LATER, ask, hub_with_jobs
from tests.hub import Hub
from tests.sentinels import NAME, watched_valkeys
from tests.valkey import running_valkey

Accepted = dict[int, str]


def adding(number: int) -> dict[str, Any]:
    """A request for `number` + 1."""
    return {"inputs": [{**ADD, "data": [number]}]}


async def submit(hub: Hub, number: int, accepted: Accepted) -> int:
    """Ask for a job; the status. A call beside it is answered whatever the store does."""
    status, found, headers = await ask(hub, "POST", "/v2/models/adds/infer", adding(number), **LATER)
    if status == 202:
        assert headers["hub-durability"] == "replicated"
        accepted[number] = headers["location"]
    else:
        assert (status, found["error"]) == (503, "the store of jobs cannot be reached")
        assert headers["retry-after"] == "2"
    assert (await ask(hub, "POST", "/v2/models/quick/infer", INFER))[0] == 200
    return status


async def submit_through(hub: Hub, first: int, accepted: Accepted) -> None:
    """Ask for jobs until the store was away, and is there again."""
    seen, status = Counter[int](), 0
    async with asyncio.timeout(60):
        while not (seen[503] and status == 202):
            status = await submit(hub, first + seen.total(), accepted)
            seen[status] += 1


async def right(hub: Hub, accepted: Accepted) -> None:
    """All of these jobs have their results."""
    for number, path in accepted.items():
        status, found, _ = await ask(hub, "GET", f"{path}/result?wait=60")
        assert (status, found["outputs"][0]["data"]) == (200, [number + 1])


@pytest.mark.long
async def test_a_master_that_is_killed_costs_seconds_and_no_job_after_it(tmp_path: Path) -> None:
    async with (
        watched_valkeys(tmp_path / "valkeys") as store,
        hub_with_jobs(tmp_path, jobs=store.url) as hub,
    ):
        before: Accepted = {}
        for number in range(30):
            assert await submit(hub, number, before) == 202
        await right(hub, before)
        await store.master.stop(signal.SIGKILL)
        through: Accepted = {}
        await submit_through(hub, 1000, through)
        await store.master_is(store.replica)
        after: Accepted = {}
        for number in range(2000, 2030):
            assert await submit(hub, number, after) == 202
        await right(hub, {**through, **after})
        # The old one comes back as a replica, and nobody takes it for the master.
        await store.master.start()
        more: Accepted = {}
        for number in range(3000, 3030):
            assert await submit(hub, number, more) == 202
        await right(hub, {**after, **more})


@pytest.mark.long
async def test_a_master_that_is_demoted_is_left(tmp_path: Path) -> None:
    """As operators do it: it lives, and is a replica from now on."""
    async with (
        watched_valkeys(tmp_path / "valkeys", lost_ms=5000) as store,
        hub_with_jobs(tmp_path, jobs=store.url) as hub,
    ):
        accepted: Accepted = {}
        for number in range(30):
            assert await submit(hub, number, accepted) == 202
        assert await store.ask("failover", NAME) in (True, "OK")

        async def go_on() -> None:
            for number in range(100, 100_000):
                await submit(hub, number, accepted)

        submitting = asyncio.create_task(go_on())
        await store.master_is(store.replica)
        await store.follows(store.master)
        submitting.cancel()
        await asyncio.wait([submitting])
        assert submitting.cancelled()
        last: Accepted = {}
        async with asyncio.timeout(60):
            while len(last) < 30:
                await submit(hub, 100_000 + len(last), last)
        await right(hub, last)


async def test_a_server_that_is_no_master_is_not_reached(tmp_path: Path) -> None:
    """Also without sentinels, where its name leads to another one by then."""
    targets: list[int] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", targets[-1])
        await asyncio.gather(copy(reader, back), copy(there, writer))

    async with (
        running_valkey(tmp_path / "other") as other,
        running_valkey(tmp_path / "valkey") as valkey,
        Redis(port=valkey.port) as client,
        await asyncio.start_server(serve, "127.0.0.1", 0) as front,
    ):
        targets.append(valkey.port)
        store = ValkeyStore(f"redis://127.0.0.1:{front.sockets[0].getsockname()[1]}/0", 10)
        await store.start()
        await store.add(job("1"))
        await client.replicaof("127.0.0.1", str(other.port))
        with pytest.raises(HubError, match="the store of jobs cannot be reached"):
            await store.add(job("2"))
        targets.append(other.port)
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.add(job("3"))
                    break
                except HubError:
                    await asyncio.sleep(0.05)
        assert await states(store) == {"3": "queued"}
        await store.stop()


@pytest.mark.long
async def test_sentinels_that_are_lost_are_passed_over(tmp_path: Path) -> None:
    async with watched_valkeys(tmp_path / "valkeys") as made:
        hosts = f"127.0.0.1:1,127.0.0.1:{made.ports[1]}"
        for name, durability in ((NAME, "replicated"), ("other", "unknown")):
            store = ValkeyStore(f"redis+sentinel://{hosts}/{name}", 10)
            await store.start()
            assert store.durability == durability
            if name == NAME:
                await store.add(job("1"))
                assert await states(store) == {"1": "queued"}
            await store.stop()


GOOD = [
    "redis+sentinel://a/jobs",
    "redis+sentinel://a:26379,b:26380,[::1]:26381/jobs/3",
    "rediss+sentinel://hub:se%2Fcret@a,b/jobs/",
    "redis+sentinel://:secret@a/jobs/0?sentinel_username=x&sentinel_password=y",
]
BAD = [
    *("redis+sentinel://a:26379,b:26379", "redis+sentinel://a/", "redis+sentinel:///jobs", "sentinel://a/jobs"),
    *("redis+sentinel://a,/jobs", "redis+sentinel://a:0/jobs", "redis+sentinel://a:65536/jobs"),
    *("redis+sentinel://a/jobs/x", "redis+sentinel://a/jobs/0/1", "redis+sentinel://a/jobs?db=1"),
    *("redis+sentinel://a b/jobs", "redis+sentinel://u:p@u:p@a/jobs"),
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_urls_of_sentinels_are_taken(url: str) -> None:
    assert is_store(url)
    GatewaySettings(jobs=url).check_jobs()


@pytest.mark.parametrize("url", BAD)
def test_other_urls_are_refused(url: str, tmp_path: Path) -> None:
    assert not is_store(url)
    with pytest.raises(SettingError, match="HUB_JOBS names no store") as refused:
        GatewaySettings(jobs=url).check_jobs()
    assert url not in str(refused.value)
    (tmp_path / "url").write_text(url)
    with pytest.raises(BadFile, match=r"expected redis://host:port, rediss://… or redis\+sentinel://"):
        GatewaySettings(jobs=f"file:{tmp_path / 'url'}").jobs_url()


def test_authorities_are_for_tls() -> None:
    GatewaySettings(jobs=GOOD[2], jobs_ca="ca.crt").check_jobs()
    with pytest.raises(SettingError, match=r"but HUB_JOBS begins with redis\+sentinel://"):
        GatewaySettings(jobs=GOOD[0], jobs_ca="ca.crt").check_jobs()


async def test_a_url_says_all_of_the_connections() -> None:
    """TLS is for the server and for its sentinels, and no connection tries again by itself."""
    made = clients_of(
        "rediss+sentinel://hub:se%2Fcret@a,[::1]:99/my%20jobs/3?sentinel_password=s", 5, "ca.crt"
    )
    assert made.sentinels is not None
    pools: list[Any] = [one.connection_pool for one in (made.server, *made.sentinels.sentinels)]
    assert all(issubclass(pool.connection_class, SSLConnection) for pool in pools)
    options = [pool.connection_kwargs for pool in pools]
    assert {one["ssl_ca_certs"] for one in options} == {"ca.crt"}
    assert [(one.get("host"), one.get("port")) for one in options] == [
        (None, None),
        ("a", 26379),
        ("::1", 99),
    ]
    assert [(one["username"], one["password"]) for one in options] == [
        ("hub", "se/cret"),
        (None, "s"),
        (None, "s"),
    ]
    assert [one["socket_connect_timeout"] for one in options] == [CONNECT_S, SENTINEL_S, SENTINEL_S]
    assert {one["retry"].get_retries() for one in options} == {0}
    assert (options[0]["db"], pools[0].service_name, pools[0].max_connections) == (3, "my jobs", 5)
    await made.close()
