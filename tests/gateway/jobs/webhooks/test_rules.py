"""Where webhooks may go, when they come again, and how they are signed: rules without a server."""

from __future__ import annotations

import re
from base64 import b64encode
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.webhooks.addresses import may_call
from inferencehub.gateway.jobs.webhooks.retries import PAUSES_S, Answer, next_attempt, seconds_of
from inferencehub.gateway.jobs.webhooks.signing import Secrets, secrets_of, signed
from inferencehub.gateway.jobs.webhooks.targets import Target, Targets
from tests.each import for_each
from tests.hub import ROOT

LIST: tuple[str, ...] = (
    "example.com",
    "*.example.org",
    "a.test:8443",
    "http://collector:8080",
    "https://10.0.0.5",
    "http://[::1]:9000",
)
LIST += ("http://localhost:9000",)
GOOD = {
    "https://example.com": "https://example.com:443/",
    "https://example.com/": "https://example.com:443/",
    "https://example.com:443/a/b?c=d%20e&f": "https://example.com:443/a/b?c=d%20e&f",
    "https://example.com?x=1": "https://example.com:443/?x=1",
    "https://a.example.org/x": "https://a.example.org:443/x",
    "https://a.b.example.org/@:/": "https://a.b.example.org:443/@:/",
    "https://a.test:8443/x": "https://a.test:8443/x",
    "http://collector:8080/x": "http://collector:8080/x",
    "https://10.0.0.5/x": "https://10.0.0.5:443/x",
    "http://[0:0::1]:9000/": "http://[::1]:9000/",
}
BAD = """
https://other.com/ https://example.org/ https://xexample.org/ https://example.com.evil.com/ https://evil.com/example.com
https://evil.com#example.com https://evil.com?example.com https://evil.com\\@example.com https://example.com\\.evil.com
http://example.com/ http://a.example.org/ http://a.test:8443/ https://a.test/ https://example.com:8443/ https://example.com:80/
https://example.com:0443/ https://example.com:/ https://example.com:99999/ https://collector:8080/ http://collector/
http://collector:8081/ https://10.0.0.5:8080/ http://10.0.0.5/ http://[::1]/ http://[::2]:9000/ http://127.0.0.1:9000/
https://user@example.com/ https://user:password@example.com/ https://:@example.com/ https://example.com@evil.com/
https://example.com/#fragment https://example.com/# ftp://example.com/ file:///etc/passwd //example.com/ example.com https:example.com
https:/example.com/ https:///example.com/ https://example.com./ https://.example.org/ https://a..example.org/ https://*.example.org/
https://167772165/ https://0xa000005/ https://10.5/ https://10.0.5/ https://012.0.0.5/ https://0x0a.0.0.5/ https://10.0.0.05/
https://[10.0.0.5]/ https://[::ffff:10.0.0.5]/ https://[::ffff:a00:5]/ https://[::10.0.0.5]/ https://[64:ff9b::10.0.0.5]/
http://[::1%25eth0]:9000/ http://[::1%eth0]:9000/ http://[::1%lo]:9000/ http://[::1]9000/ http://::1:9000/
https://example.com/%zz https://example.com/%0 https://ex%61mple.com/ https://example.com%2f.evil.com/ https://example。com/
https://example.com/<> https://example.com/| https://example.com/" HTTPS://example.com/ https://EXAMPLE.com/
"""
ODD = [
    "",
    " https://example.com/",
    "https://example.com/ ",
    "https://example.com/\n",
    "https://example.com/a b",
]
ODD += [
    "https://example.com/\r\nx: y",
    "https://exa\tmple.com/",
    "https://example.com/\x00",
    f"https://example.com/{'a' * 2048}",
]
ENTRIES = "* *.* *. http:// http://*.example.com *.10.0.0.5 10.0.0.5 [::1] [::1]:80 https://169.254.169.254 http://0.0.0.0:80 127.1 "
ENTRIES += "http://[::ffff:169.254.169.254] http://[fe80::1] http://2130706433 0x7f.1 http://127.1 example.com/ example.com:0 "
ENTRIES += "https://example.com/path example.com:65536 user@example.com ftp://example.com Example.com http://[::1 a..b http://[fd00:ec2::254]"
NEVER = """0.0.0.0 0.1.2.3 169.254.169.254 169.254.170.2 192.0.0.192 192.0.2.1 198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1
255.255.255.255 168.63.129.16 100.100.100.200 192.88.99.1 :: ::2 ::a00:5 ::7f00:1 ::ffff:0.0.0.0 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe
64:ff9b::169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe 64:ff9b:1::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::1
3fff::1 5f00::1 100::1 fe80::1 fe80::1%eth0 fe80::a9fe:a9fe fec0::1 ff02::1 fd00:ec2::254 fd20:ce::254 4000::1 ::ffff:0:7f00:1"""
LOOPBACK = "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::7f00:1"
PRIVATE = """10.0.0.5 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 fc00::1 fd12::1 ::ffff:10.0.0.5 64:ff9b::c0a8:1
fd12::1%eth0"""
PUBLIC = "1.1.1.1 172.32.0.1 100.128.0.1 8.8.8.8 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808"


@for_each(list(GOOD))
def test_a_url_in_the_list_is_called(url: str) -> None:
    assert Targets(LIST).of(url).url == GOOD[url]


@for_each([*BAD.split(), *ODD])
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(HubError, match=r"^X-Webhook-Url: ") as caught:
        Targets(LIST).of(url)
    assert caught.value.kind is Kind.BAD_INPUT


def test_without_a_list_there_are_no_webhooks() -> None:
    with pytest.raises(HubError, match="there are no webhooks here: HUB_WEBHOOK_HOSTS names no hosts"):
        Targets(()).of("https://example.com/")


def test_a_whole_origin_may_be_private_and_this_machine_if_it_says_so() -> None:
    found = {}
    for url in (
        "https://example.com",
        "http://collector:8080",
        "https://10.0.0.5",
        "http://[::1]:9000",
        "http://localhost:9000",
    ):
        _, host, private, loopback = Targets(LIST).of(url)
        found[host] = private, loopback
    assert found == {
        "example.com:443": (False, False),
        "collector:8080": (True, False),
        "10.0.0.5:443": (True, False),
        "[::1]:9000": (True, True),
        "localhost:9000": (True, True),
    }


@for_each(ENTRIES.split())
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(SettingError, match=r"^HUB_WEBHOOK_HOSTS has '.*', expected "):
        Targets([entry])


@pytest.mark.parametrize(
    ("addresses", "right"),
    [
        (NEVER.split(), [False, False, False]),
        (LOOPBACK.split(), [False, False, True]),
        (PRIVATE.split(), [False, True, True]),
        (PUBLIC.split(), [True, True, True]),
    ],
)
def test_which_addresses_may_be_called(addresses: list[str], right: list[bool]) -> None:
    for address in addresses:
        found = [may_call(address, *marks) for marks in ((False, False), (True, False), (True, True))]
        assert found == right, address


def test_when_it_comes_again() -> None:
    refused = Answer(500)
    times = [next_attempt(refused, attempts, 0.0, 0.0) for attempts in range(1, 9)]
    assert times == [*PAUSES_S, None, None]
    assert next_attempt(refused, 2, 100.0, 1.0) == 136.0
    for final in (Answer(200), Answer(204), Answer(299), Answer(410), Answer(0, "no", final=True)):
        assert next_attempt(final, 1, 0.0, 0.0) is None
    for other in (Answer(0, "no"), Answer(199), Answer(302), Answer(400), Answer(429)):
        assert next_attempt(other, 1, 0.0, 0.0) == 5.0


@pytest.mark.parametrize(
    ("said", "after"),
    [
        ("60", 60),
        ("1", 5),
        ("999999", 3600),
        (formatdate(1060, usegmt=True), 60),
        (formatdate(0), 5),
        ("x", 5),
        ("-3", 5),
        ("", 5),
    ],
)
def test_retry_after_is_heard_within_bounds(said: str, after: float) -> None:
    assert next_attempt(Answer(503, retry_after=said), 1, 1000.0, 0.0) == 1000.0 + after
    assert seconds_of("9" * 400, 0.0) == 0.0


SECRET = b"0123456789abcdef0123456789abcdef"


def line(secret: bytes) -> str:
    return f"whsec_{b64encode(secret).decode()}"


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of its reference implementations."""
    secrets = secrets_of(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    headers = signed(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.9, b'{"test": 2432232314}')
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_with_any_of_the_secrets_takes_it() -> None:
    secrets = [SECRET, SECRET[::-1]]
    headers = signed(secrets, "1", time(), "{}é".encode())
    for secret in secrets:
        Verifier(line(secret)).verify("{}é".encode(), headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Verifier(line(b"x" * 32)).verify("{}é".encode(), headers, json_parse=False)


def test_secrets_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(BadFile, match=r"^HUB_WEBHOOK_SECRET names .* cannot be read"):
        Secrets(str(file))
    file.write_text(f"{line(SECRET)}\n")
    secrets = Secrets(str(file))
    file.write_text(f"\n{line(SECRET[::-1])}\r\n{line(SECRET)}")
    secrets.look()
    assert secrets.all == [SECRET[::-1], SECRET]
    file.write_text("whsec_x")
    secrets.look()
    assert secrets.all == [SECRET[::-1], SECRET]
    assert secrets.refused


@for_each(
    [
        "",
        "\n",
        "whsec_",
        line(b"x" * 23),
        line(b"x" * 65),
        line(SECRET).removeprefix("whsec_"),
        "whsec_é",
        f"{line(SECRET)}\n" * 9,
    ]
)
def test_a_file_without_good_secrets_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadFile, match=r"^HUB_WEBHOOK_SECRET names a file ") as caught:
        secrets_of(text.encode())
    assert text.strip() in ("", "whsec_") or text.strip() not in str(caught.value)


def test_a_target_is_what_is_called() -> None:
    assert Targets(LIST).of("https://example.com?a") == Target(
        "https://example.com:443/?a", "example.com:443", False, False
    )


def test_the_program_of_the_documentation_verifies() -> None:
    (text,) = re.findall(
        r"<!-- verifies -->\n```python\n(.*?)```", (ROOT / "docs/jobs.md").read_text(), re.DOTALL
    )
    found: dict[str, Any] = {}
    exec(text, found)
    verified, body = found["verified"], b'{"a": 1}'
    headers = signed([SECRET[::-1], SECRET], "1", time(), body)
    assert verified(line(SECRET), headers, body)
    assert not verified(line(SECRET), headers, body + b" ")
    assert not verified(line(b"x" * 32), headers, body)
    assert not verified(line(SECRET), signed([SECRET], "1", time() - 400, body), body)
