"""How webhooks are delivered, from each store to a real receiver."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.gateway.http_api.jobs.job_json import ended_json
from inferencehub.gateway.jobs.record import State, Webhook
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.webhooks.post import ATTEMPT_S, AddressRefused, Post, checked_socket
from inferencehub.gateway.jobs.webhooks.retries import Answer
from inferencehub.gateway.jobs.webhooks.sender import EACH, LOOK_S, MOST_SILENT, Sender
from inferencehub.gateway.jobs.webhooks.signing import Secrets
from inferencehub.gateway.jobs.webhooks.targets import Target, Targets
from tests.authority import Authority
from tests.gateway.jobs.stores import DONE, claim, job
from tests.gateway.jobs.webhooks.receiver import SECRET, receiving
from tests.hub import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def sending(
    store: Store, tmp_path: Path, *hosts: str, attempt_s: float = ATTEMPT_S, look_s: float = LOOK_S
) -> AsyncIterator[Counter[str]]:
    """A sender that runs; what it counts."""
    file = tmp_path / "webhook-secret"
    file.write_text(SECRET)
    outcomes = Counter[str]()
    post = Post("", attempt_s)
    sender = Sender(store.webhooks, Targets(hosts), Secrets(str(file)), post, ended_json, outcomes, look_s)
    sender.start()
    try:
        yield outcomes
    finally:
        await sender.stop(0.1)


async def end(store: Store, id: str, url: str, host: str = "h") -> None:
    """A job that has ended, with a webhook."""
    now = time()
    await store.add(job(id, webhook=Webhook(url, host, "r"), created=now, not_before=now, model=id))
    (one,) = await claim(store, now=now, lane=id)
    assert await store.finish(id, one.attempt, State.SUCCEEDED, "", DONE, now)


async def stands(store: Store, id: str, how: Callable[[Webhook], bool], within_s: float = 20.0) -> Webhook:
    """The webhook of a job, once it stands so."""
    async with asyncio.timeout(within_s):
        while True:
            found = (await store.job("a", id)).webhook
            assert found is not None
            if how(found):
                return found
            await asyncio.sleep(0.02)


def over(webhook: Webhook) -> bool:
    """Whether nothing more is sent."""
    return webhook.state != "pending"


def tried(webhook: Webhook) -> bool:
    """Whether an attempt has ended."""
    return bool(webhook.status or webhook.error)


@pytest.mark.long
async def test_it_is_tried_until_it_is_taken_with_one_id(store: Store, tmp_path: Path) -> None:
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        async with sending(store, tmp_path, origin) as outcomes:
            await end(store, "1", f"{origin}/500,200/a?b=c%20d")
            assert (await stands(store, "1", over)).attempts == 2
        first, second = receiver.messages
        assert first.id == second.id == "1-1"
        assert first.read()["data"]["id"] == second.read()["data"]["id"] == "1"
        assert first.path == "/500,200/a"
        assert outcomes == {"retried": 1, "delivered": 1}


async def test_what_is_not_taken_waits_and_gone_ends_it(store: Store, tmp_path: Path) -> None:
    said = {
        "302": "pending",
        "307": "pending",
        "404": "pending",
        "429": "pending",
        "204": "delivered",
        "410": "failed",
    }
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        async with sending(store, tmp_path, origin):
            for status in said:
                await end(store, status, f"{origin}/{status}/x?after=100", status)
            await eventually(lambda: len(receiver.messages) == len(said))
            for status, state in said.items():
                found = await stands(store, status, tried)
                assert (found.state, found.status, found.attempts) == (state, int(status), 1)
                assert (found.error == "") is (status == "204")
            assert await store.webhooks.claim(9, 9, {}, 1.0, time() + 90) == [], "Retry-After"
        assert not receiver.of("/200/redirected"), "no redirect is followed"
        cookies = {"cookie", "authorization", "proxy-authorization"}
        assert not cookies & {name for message in receiver.messages for name in message.headers}


async def test_a_slow_receiver_does_not_stop_the_others(store: Store, tmp_path: Path) -> None:
    async with receiving() as slow, receiving() as quick:
        origins = [f"http://127.0.0.1:{one.port}" for one in (slow, quick)]
        for number in range(40):
            await end(store, f"slow{number}", f"{origins[0]}/slow", "slow")
        async with sending(store, tmp_path, *origins):
            await eventually(lambda: slow.now == EACH)
            for number in range(20):
                await end(store, f"quick{number}", f"{origins[1]}/200", "quick")
            await eventually(lambda: len(quick.messages) == 20)
            assert (slow.most, len(slow.messages)) == (EACH, EACH), "no slow one has ended"
            slow.held.set()
            await eventually(lambda: len(slow.messages) == 40)


@pytest.mark.long
async def test_what_is_due_does_not_wait_for_the_next_look(store: Store, tmp_path: Path) -> None:
    """Also where some end while more is taken."""
    count = 300
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        for first in range(0, count, 30):
            some = range(first, first + 30)
            await asyncio.gather(*[end(store, str(number), f"{origin}/200") for number in some])
        async with sending(store, tmp_path, origin, look_s=600.0) as outcomes:
            await eventually(lambda: outcomes["delivered"] == count)


@pytest.mark.long
async def test_many_silent_hosts_do_not_stop_the_others(store: Store, tmp_path: Path) -> None:
    """Each has a name of its own, and much to be told."""
    hosts = 70
    async with receiving() as slow, receiving() as quick:
        origins = [f"http://127.0.0.1:{one.port}" for one in (slow, quick)]
        for number in range(hosts):
            await end(store, f"slow{number}", f"{origins[0]}/slow", f"slow{number}")
        async with sending(store, tmp_path, *origins, attempt_s=3.0):
            await eventually(lambda: len(slow.messages) == hosts)
            await eventually(lambda: slow.now == 0)
            for number in range(2 * hosts):
                await end(store, f"more{number}", f"{origins[0]}/slow", f"slow{number % hosts}")
            slow.most = 0
            await eventually(lambda: slow.now > MOST_SILENT // 2)
            for number in range(40):
                await end(store, f"quick{number}", f"{origins[1]}/200", "quick")
            await eventually(lambda: len(quick.messages) == 40)
            assert slow.most <= MOST_SILENT


async def test_a_receiver_that_never_ends_its_answer_is_left(store: Store, tmp_path: Path) -> None:
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        async with sending(store, tmp_path, origin):
            await end(store, "1", f"{origin}/endless")
            await stands(store, "1", over, 5.0)
            await eventually(lambda: receiver.now == 0)
    most = 8 * 2**20  # the buffers of two sockets of this machine
    assert receiver.sent < most


@pytest.mark.long
async def test_one_that_says_nothing_is_left_and_tried_again_alone(store: Store, tmp_path: Path) -> None:
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        async with sending(store, tmp_path, origin, attempt_s=1.0):
            for number in range(3):
                await end(store, str(number), f"{origin}/slow")
            await eventually(lambda: receiver.most == 3)
            for number in range(3):
                found = await stands(store, str(number), tried)
                assert (found.state, found.status, found.error) == ("pending", 0, "no answer within 1 s")
            receiver.most = 0
            await eventually(lambda: len(receiver.messages) == 6)
            assert receiver.most == 1


async def test_a_host_that_left_the_list_gets_nothing(store: Store, tmp_path: Path) -> None:
    async with receiving() as receiver, sending(store, tmp_path, "other.test") as outcomes:
        await end(store, "1", f"http://127.0.0.1:{receiver.port}/200")
        assert "is not in HUB_WEBHOOK_HOSTS" in (await stands(store, "1", over)).error
        assert not receiver.messages
        assert outcomes == {"given_up": 1}


async def asked(target: Target, ca: str = "") -> Answer:
    post = Post(ca)
    try:
        return await post(target, {}, b"{}")
    finally:
        post.close()


async def test_a_name_for_this_machine_is_not_called_without_its_mark() -> None:
    async with receiving() as receiver:
        for scheme in ("http", "https"):
            url = f"{scheme}://localhost:{receiver.port}/200"
            for private in (False, True):
                answer = await asked(Target(url, "h", private, False))
                assert answer == Answer(0, "its host has an address that webhooks may not call")
        assert not receiver.messages
        assert receiver.most == 0
        assert (await asked(Target(f"http://localhost:{receiver.port}/200", "h", True, True))).status == 200


async def test_the_address_is_checked_again_at_its_socket_also_if_it_was_no_name() -> None:
    async with receiving() as receiver:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
            answer = await asked(Target(f"http://{host}:{receiver.port}/200", "h", True, False))
            assert answer == Answer(0, "its host has an address that webhooks may not call"), host
        assert not receiver.messages
    public = Target("https://h/", "h", False, False)
    for family, address in (
        (socket.AF_INET, ("169.254.169.254", 80)),
        (socket.AF_INET6, ("64:ff9b::a00:1", 80, 0, 0)),
    ):
        with pytest.raises(AddressRefused):
            checked_socket(public, (family, socket.SOCK_STREAM, 0, "", address))
    checked_socket(public, (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))).close()


async def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, receiving() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await asked(Target(f"http://127.0.0.1:{receiver.port}/200", "h", True, True))).status == 200
        assert not proxy.messages


async def test_the_certificate_is_that_of_the_name(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    good = authority.signed("receiver")
    bad = authority.signed("elsewhere", "subjectAltName = DNS:{name}\nauthorityKeyIdentifier = keyid\n")
    trusted = str(authority.certificate)

    async def said(certificate: tuple[Path, Path], ca: str) -> Answer:
        async with receiving(certificate) as receiver:
            return await asked(Target(f"https://localhost:{receiver.port}/200", "h", True, True), ca)

    assert await said(good, trusted) == Answer(200)
    for certificate, ca in ((bad, trusted), (good, str(other.certificate)), (good, "")):
        assert (await said(certificate, ca)).error.startswith("TLS failed")
    with pytest.raises(BadFile, match=r"^HUB_WEBHOOK_CA names .* cannot be used"):
        Post(str(tmp_path / "none"))


async def test_what_is_no_receiver_is_said_shortly() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        assert await asked(Target(url, "h", True, True)) == Answer(0, "no connection")
    assert await asked(Target("http://nowhere.invalid/", "h", True, True)) == Answer(
        0, "its host is not known"
    )

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n" * 10)
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await asked(Target(url, "h", True, True)) == Answer(0, "no answer of HTTP")
