"""What the network says: names without an address, ports that refuse, and ports that say nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from inferencehub.core.process.doctor.network import Reach, addresses_of, handshake, reach, why_no_address
from inferencehub.core.tls.certificate import Certificate
from tests.authority import Authority
from tests.hub import ROOT
from tests.ports import free_port
from tests.sockets import silent_port


async def test_a_name_that_is_not_there() -> None:
    assert "127.0.0.1" in await addresses_of("localhost") or "::1" in await addresses_of("localhost")
    with pytest.raises(OSError) as caught:  # noqa: PT011
        await addresses_of("no-such-name.invalid")
    seen, fix = why_no_address(caught.value)
    assert seen
    assert fix


HANGING = """
import asyncio, threading
from inferencehub.core.process.doctor.network import addresses_of

async def look():
    for _ in range(3):
        names = [addresses_of(f"{number}.name.test.") for number in range(10)]
        found = await asyncio.gather(*names, return_exceptions=True)
        print({type(one).__name__ for one in found})
    async with asyncio.timeout(5):
        print(await asyncio.to_thread(lambda: "free"))
    print(threading.active_count() <= 20)

asyncio.run(look())
"""


@pytest.mark.long
def test_dns_that_hangs_holds_up_neither_other_work_nor_the_end(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.83.0.1\noptions timeout:20 attempts:3\n")
    mounts = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"']
    command = [*mounts, str(tmp_path / "resolv.conf")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        try:
            silent.bind(("127.83.0.1", 53))
            subprocess.run([*command, "true"], check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("it may not mount, or take port 53")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
        looked = subprocess.run(
            [*command, sys.executable, "-c", HANGING],
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        )
    assert looked.stdout.splitlines() == ["{'TimeoutError'}"] * 3 + ["free", "True"], looked.stderr


def test_what_a_failed_look_up_means() -> None:
    assert why_no_address(socket.gaierror(socket.EAI_NONAME, "unknown"))[0] == "there is no such name"
    seen, fix = why_no_address(socket.gaierror(socket.EAI_AGAIN, "try again"))
    assert seen == "DNS fails: try again"
    assert "port 53" in fix
    assert why_no_address(TimeoutError())[0] == "DNS does not answer"


async def test_ports_that_accept_refuse_and_say_nothing() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        assert await reach("127.0.0.1", server.sockets[0].getsockname()[1]) is Reach.OPEN
    assert await reach("127.0.0.1", free_port()) is Reach.REFUSED
    with silent_port() as port:
        assert await reach("127.0.0.1", port, 0.2) is Reach.SILENT


async def test_why_tls_fails(tmp_path: Path) -> None:
    good, other = Authority(tmp_path, "good"), Authority(tmp_path, "other")

    def of(authority: Authority, name: str, calls: str = "") -> Certificate:
        chain, key = authority.signed(name)
        return Certificate("HUB_TIER_TLS", str(chain), str(key), str(good.certificate), calls=calls)

    writers: list[asyncio.StreamWriter] = []  # one that nobody has ends its connection, from Python 3.13 on

    async def said(server: Certificate, client: Certificate) -> str:
        listening = await asyncio.start_server(
            lambda reader, writer: writers.append(writer), "127.0.0.1", 0, ssl=server.context
        )
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            return await handshake("127.0.0.1", port, client.context, client.calls)

    caller = of(good, "gateway", "inference")
    assert await said(of(good, "inference"), caller) == ""
    assert "Hostname mismatch" in await said(of(good, "another"), caller)
    assert "unable to get local issuer" in await said(of(other, "inference"), caller)
    chain, key = good.brief("inference", -60)
    ended = Certificate("HUB_TIER_TLS", str(chain), str(key), str(good.certificate))
    assert "expired" in await said(ended, caller)
    stranger = of(other, "gateway", "inference")
    assert await said(of(good, "inference"), stranger) != "", "the server does not take its certificate"
    plain = await asyncio.start_server(lambda reader, writer: writer.write(b"hello\r\n" * 9), "127.0.0.1", 0)
    async with plain:
        port = plain.sockets[0].getsockname()[1]
        assert await handshake("127.0.0.1", port, ssl.create_default_context(), "x") != ""
