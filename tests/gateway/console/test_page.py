"""The console in a real browser: what was called is what is shown, for all who read it, and nothing gets in as HTML.

PICTURES=docs also writes the pictures that the docs show.
"""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inferencehub.gateway.console.watchers import MOST
from inferencehub.gateway.server import Gateway
from tests.browser import Browser
from tests.gateway.console.looking import Snapshot, looking, of
from tests.gateway.console.pictures import (
    NARROW,
    OUTSIDE,
    WIDE,
    choose_file,
    look_with,
    picture,
    text_of,
    violations,
)
from tests.gateway.keyed_hub import KEYS, hub_with_keys
from tests.hub import MODELS, ROOT, Hub, eventually, mock_model, running_gateway, running_hub, write_model
from tests.programs import CHROMIUM, on_path

pytestmark = pytest.mark.tools
INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
FORM = "document.querySelectorAll('#try fieldset').length > 0"
PICTURES = os.environ.get("PICTURES", "")
LARGEST = 150_000  # bytes of a picture


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(on_path(CHROMIUM), tmp_path / "profile") as running:
        yield running
        assert not running.complaints, "a violation of the policy would be one"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    models = tmp_path / "models"
    mock_model(models, "quick")
    mock_model(models, "slow", delay_ms=60, slots=2)
    for sample in ("digits", "markov-chat", "nearest-colour", "sentiment"):
        (models / sample).symlink_to(MODELS / sample)
    write_model(models, "broken", 'backend: "nothing"')
    async with running_hub(models, 2, jobs="sqlite::memory:", trace_slow_ms=200, hold_s=0.0) as running:
        yield running


async def infer(hub: Hub, model: str) -> None:
    await hub.post(f"/v2/models/{model}/infer", INFER)


async def busy(hub: Hub) -> None:
    """Some seconds as an operator may see them: models with load, batches, some errors, and a job."""
    await hub.post("/v2/models/quick/infer", INFER, headers={"prefer": "respond-async"})
    colour = {"inputs": [{"name": "rgb", "datatype": "FP32", "shape": [1, 3], "data": [250, 10, 10]}]}
    for second in range(20 if PICTURES else 3):
        several = 20 + 15 * (second % 4)
        calls: list[Coroutine[Any, Any, object]] = [infer(hub, "slow") for _ in range(several)]
        calls += [infer(hub, "quick") for _ in range(2 * several)]
        calls += [hub.post("/v2/models/nearest-colour/infer", colour) for _ in range(several)]
        await asyncio.gather(*calls, infer(hub, "broken"), hub.post("/v2/models/quick/infer", {"inputs": []}))
        await asyncio.sleep(0.5)


async def test_the_page_shows_what_was_called(hub: Hub, browser: Browser) -> None:
    await look_with(browser)
    waited = []

    def all_ended(shown: Snapshot) -> bool:
        waited.append(of(shown["lanes"], "slow")["waiting"])
        failed = [call for call in shown["calls"] if call["why"] == "failed"]
        return len(failed) == 1 and of(shown["traffic"], "slow").get("count") == 200

    async with looking(hub) as look:
        await browser.open(f"{hub.url}/console")
        await browser.becomes(f"{text_of('#state')} === 'live'")
        await asyncio.gather(*[infer(hub, "slow") for _ in range(200)], infer(hub, "broken"))
        shown = await look.snapshot(all_ended)
        assert max(waited) > 20
        row = json.dumps(of(shown["traffic"], "slow"))
        # The page may be a second behind.
        await browser.becomes(
            f"""import('/console/dom.js').then(({{ duration }}) => {{
                const figures = [...{row}.quantiles.map((seconds) => duration(1000 * seconds)), '0'].join();
                const rows = [...document.querySelectorAll('#latencies tbody tr')].map((one) => one.innerText.split('\\t'));
                return rows.some((found) => found[0] === 'slow' && found.slice(2).join() === figures); }})"""
        )
        lane = "[...document.querySelectorAll('#lanes > li')].find((one) => one.innerText.startsWith('slow')).innerText"
        await browser.becomes(f"{lane}.includes('waiting, last minute (most {max(waited)})')")
        await browser.becomes(f"{lane}.includes('it goes alone 200')")
        pods = await browser.value(text_of("#pods"))
        for pod in hub.pods:
            assert f"127.0.0.1:{pod.port}\nup" in pods
        slots = "[...document.querySelectorAll('#pods svg')].map((one) => one.getAttribute('aria-label'))"
        assert "2 slots: 0 busy for this gateway, 0 for others, 2 free" in await browser.value(slots)
        reason = of(shown["models"], "broken")["reason"]
        assert "nothing" in reason
        assert reason in await browser.value(text_of("#models"))
        assert "503 not_ready" in await browser.becomes(text_of("#calls ul"))


@pytest.mark.parametrize("dark", [False, True])
async def test_all_can_read_it(hub: Hub, browser: Browser, dark: bool, tmp_path: Path) -> None:
    colours = "dark" if dark else "light"
    for width in (WIDE, NARROW):
        await look_with(browser, width, dark)
        await browser.open(f"{hub.url}/console")
        await browser.becomes(f"{text_of('#state')} === 'live' && {FORM}")
        await busy(hub)
        await browser.becomes(f"{text_of('#calls ul')}.includes('not_ready')")
        assert await violations(browser) == []
        assert await browser.value("document.documentElement.scrollWidth") <= width
        assert await browser.value(OUTSIDE) == []
        assert await browser.value("getComputedStyle(document.documentElement).backgroundColor") == (
            "rgb(18, 21, 27)" if dark else "rgb(246, 247, 249)"
        )
        name = f"console-{colours}.png" if width == WIDE else f"console-{colours}-narrow.png"
        taken = await picture(browser, width, 1150)
        assert 10_000 < len(taken) < LARGEST
        (ROOT / PICTURES if PICTURES else tmp_path).joinpath(name).write_bytes(taken)


async def test_the_ops_port_has_the_page_without_calls_and_form(hub: Hub, browser: Browser) -> None:
    await infer(hub, "broken")
    await look_with(browser, NARROW)
    await browser.open(f"http://127.0.0.1:{hub.gateway.ops.port}/console")
    assert await browser.becomes(f"{text_of('#lanes')}.includes('slow')")
    assert await browser.value("document.querySelector('#calls, #try, form:not([hidden])')") is None
    assert await violations(browser) == []


async def test_the_keyboard_reaches_all_of_it_and_stays_where_it_is(hub: Hub, browser: Browser) -> None:
    await browser.open(f"{hub.url}/console")
    await browser.becomes(FORM)
    places = "[...document.querySelectorAll('select, textarea, input, button:not(:disabled)')].filter((one) => one.offsetParent)"
    expected, reached = await browser.value(f"{places}.length"), set()
    for _ in range(expected):
        for kind in ("keyDown", "keyUp"):
            await browser.do(
                "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
            )
        reached.add(await browser.value(f"{places}.indexOf(document.activeElement)"))
        assert await browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == set(range(expected))
    await browser.value(
        "document.getElementById('of').focus(); window.marked = document.querySelector('#models li'); 0"
    )
    async with looking(hub) as look:
        await infer(hub, "slow")
        await look.snapshot(lambda shown: of(shown["traffic"], "slow"))
    await browser.becomes(f"{text_of('#latencies')}.includes('slow')")
    assert await browser.value("document.activeElement.id") == "of"
    assert await browser.value("window.marked.isConnected"), "what has not changed is not made anew"


async def test_names_and_errors_are_text(tmp_path: Path, browser: Browser) -> None:
    evil = "<img src=x onerror=window.ran=1>"
    mock_model(tmp_path / "models", evil)
    write_model(tmp_path / "models", f"{evil} broken", f'backend: "{evil}"')
    async with running_hub(tmp_path / "models", hold_s=0.0) as hub:
        await browser.open(f"{hub.url}/console")
        await browser.becomes(FORM)
        path = f"/v2/models/{evil.replace('=', '%3D').replace('<', '%3C').replace('>', '%3E').replace(' ', '%20')}/infer"
        assert (await hub.post(path, INFER))[0] == 200
        assert evil in await browser.becomes(
            f"{text_of('#latencies table')}.includes('img') && {text_of('#latencies')}"
        )
        for place in ("#lanes", "#pods", "#models", "#model"):
            assert evil in await browser.value(text_of(place)), place
        assert f"'{evil}'" in await browser.value(text_of("#models")), "its reason says what it found"
        await browser.value(f"document.querySelector('#try textarea').value = {json.dumps(evil)}")
        await browser.value("document.querySelector('#try').requestSubmit()")
        assert "<img" in await browser.becomes(text_of("#answer .bad"))
        assert await browser.value("document.querySelectorAll('img').length + (window.ran || 0)") == 0


async def test_a_key_is_asked_for_and_forgotten(tmp_path: Path, browser: Browser) -> None:
    async with hub_with_keys(tmp_path) as hub:
        await browser.open(f"{hub.url}/console")
        await browser.becomes("!document.getElementById('keys').hidden")
        assert "asks who you are" in await browser.becomes(text_of("#notice"))
        await browser.value(
            "window.pauses = []; const wait = setTimeout;"
            "window.setTimeout = (then, ms) => { pauses.push(ms); return wait(then, ms); }; 0"
        )
        for wrong in range(3):  # the page waits longer and longer for a gateway, and not for one that answers
            await enter(browser, f"wrong-{wrong}")
            await browser.becomes(f"{text_of('#state')} === 'refused' && {text_of('#notice')}")
        browser.complaints.clear()  # the console of a browser shows a 401
        await enter(browser, KEYS["few"])
        await browser.becomes(f"{text_of('#state')} === 'live'")
        assert set(await browser.value("pauses")) == {10_000}, (
            "only those after which it takes a gateway as gone"
        )
        assert "hidden" not in await browser.becomes(text_of("#models"))
        kept = "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie, location.href])"
        assert KEYS["few"] not in await browser.value(kept)
        await browser.becomes(FORM)
        await browser.value("document.querySelector('#try').requestSubmit()")
        assert "200 OK" in await browser.becomes(text_of("#answer .good")), "the form calls with the key"


async def test_a_refusal_is_forgotten_when_there_is_room(hub: Hub, browser: Browser) -> None:
    async with AsyncExitStack() as looks:
        for _ in range(MOST):
            await looks.enter_async_context(looking(hub))
        await browser.open(f"{hub.url}/console")
        assert "look at the console" in await browser.becomes(text_of("#notice"))
        browser.complaints.clear()  # the console of a browser shows a 429
    await browser.becomes(f"{text_of('#state')} === 'live'")
    browser.complaints.clear()
    assert await browser.value(text_of("#notice")) == ""


async def test_files_that_did_not_come_are_asked_for_again(hub: Hub, browser: Browser) -> None:
    await browser.do("Network.enable")
    await browser.do("Network.setBlockedURLs", urls=["*try.js"])
    await browser.open(f"{hub.url}/console")
    await browser.becomes(f"{text_of('#state')} === 'live'")
    await browser.do("Network.setBlockedURLs", urls=[])
    watchers = hub.gateway.console.watchers
    watchers.end()
    await eventually(lambda: len(watchers) == 0)
    watchers.ended = False
    assert await browser.becomes(FORM)
    browser.complaints.clear()  # the console of a browser shows what it was not given


async def enter(browser: Browser, key: str) -> None:
    """Give a key to the page."""
    await browser.value(f"document.getElementById('key').value = {json.dumps(key)}")
    await browser.value("document.getElementById('keys').requestSubmit()")


async def test_the_largest_of_many_values_is_found(hub: Hub, browser: Browser) -> None:
    await browser.open(f"{hub.url}/console")
    many = "Array.from({ length: 500000 }, (_, at) => at % 1000)"
    assert await browser.value(f"import('/console/try.js').then(({{ largest }}) => largest({many}))") == 999


async def test_a_model_is_tried_with_numbers_a_picture_and_a_stream(
    hub: Hub, browser: Browser, tmp_path: Path
) -> None:
    await browser.open(f"{hub.url}/console")
    await browser.becomes(FORM)
    await choose(browser, "nearest-colour")
    await browser.value("document.querySelector('#try textarea').value = '250 10, 10'")
    await browser.value("document.querySelector('#try').requestSubmit()")
    assert "red" in await browser.becomes(text_of("#answer .outputs"))
    assert await browser.value("document.querySelectorAll('#answer .stack rect').length") == 4

    await choose(browser, "digits")
    drawing = tmp_path / "one.png"
    drawing.write_bytes(await drawn_one(browser))
    await choose_file(browser, "#try input[type=file]", drawing)
    await browser.value("document.querySelector('#try select:not(#model)').value = '0 to 16'")
    await browser.value("document.querySelector('#try').requestSubmit()")
    assert "the largest is at 1" in await browser.becomes(text_of("#answer .outputs"))

    await choose(browser, "markov-chat")
    assert await browser.value("document.querySelector('#try button[type=submit]').disabled")
    said = json.dumps('[{"role":"user","content":"The"}]')
    await browser.value(f"document.querySelector('#try textarea').value = JSON.stringify([{said}])")
    await browser.value("document.querySelector('#try button[type=button]').click()")
    await browser.becomes(f"{text_of('#answer details summary')} === 'last event'")
    assert len((await browser.value(text_of("#answer pre"))).split()) > 3
    assert await violations(browser) == []


# A red pixel beside a white one, as a model wants it.
PIXELS = """(async () => { const c = document.createElement('canvas'); c.width = 2; c.height = 1; const p = c.getContext('2d');
    p.fillStyle = '#f00'; p.fillRect(0, 0, 1, 1); p.fillStyle = '#fff'; p.fillRect(1, 0, 1, 1);
    const { picture, pictureForm } = await import('/console/image.js');
    const file = await new Promise((done) => c.toBlob(done));
    const found = await picture(file, pictureForm(%s), %s);
    return [found.shape, found.data]; })()"""


@pytest.mark.parametrize(
    ("shape", "how", "expected"),
    [
        ("[3, 1, 2]", "0, 1, false", [[3, 1, 2], [1, 1, 0, 1, 0, 1]]),
        ("[1, 3, null, null]", "0, 1, false", [[1, 3, 1, 2], [1, 1, 0, 1, 0, 1]]),
        ("[1, 1, 2, 3]", "0, 255, true", [[1, 1, 2, 3], [255, 0, 0, 255, 255, 255]]),
        ("[1, 1, 1, 2]", "-1, 1, false", [[1, 1, 1, 2], [-0.402, 1]]),
    ],
)
async def test_a_picture_becomes_the_tensor_that_a_signature_asks_for(
    hub: Hub, browser: Browser, shape: str, how: str, expected: list[list[float]]
) -> None:
    await browser.open(f"{hub.url}/console")
    assert await browser.value(PIXELS % (shape, how)) == expected


async def choose(browser: Browser, model: str) -> None:
    """Choose a model of the form, and wait for its fields."""
    chosen = f"document.getElementById('model').value = {json.dumps(model)}"
    await browser.becomes(
        f"[...document.getElementById('model').options].some((one) => one.value === '{model}')"
    )
    await browser.value(f"{chosen}; document.getElementById('model').dispatchEvent(new Event('change'))")
    await browser.becomes(f"{FORM} && !document.querySelector('#try button[type=button]').disabled")


async def drawn_one(browser: Browser) -> bytes:
    """A PNG with the digit 1, white on black."""
    script = """(() => { const c = document.createElement('canvas'); c.width = c.height = 80; const p = c.getContext('2d');
        p.fillStyle = '#000'; p.fillRect(0, 0, 80, 80); p.fillStyle = '#fff'; p.fillRect(34, 6, 14, 68); p.fillRect(26, 14, 10, 10);
        return c.toDataURL('image/png').split(',')[1]; })()"""
    return b64decode(await browser.value(script))


async def test_it_says_when_another_gateway_answers(hub: Hub, browser: Browser) -> None:
    backends = tuple(f"127.0.0.1:{pod.port}" for pod in hub.pods)
    async with running_gateway(backends) as other, service(hub.gateway, other) as (port, switch):
        await browser.open(f"http://127.0.0.1:{port}/console")
        first = f":{hub.gateway.port}"
        await browser.becomes(f"{text_of('#gateway')}.includes('{first},')")
        switch(other)
        await hub.gateway.drain()
        await browser.becomes(f"{text_of('#gateway')}.includes(':{other.port},')")
        said = await browser.value(text_of("#notice"))
        assert said.startswith("Now showing gateway ")
        assert said.endswith(f"{first}.")
        browser.complaints.clear()


@asynccontextmanager
async def service(*gateways: Gateway) -> AsyncIterator[tuple[int, Callable[[Gateway], None]]]:
    """A port in front of a gateway, as a Service is; its number, and what lets new connections go to another one."""
    chosen = [gateways[0]]

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", chosen[0].port)
        await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], lambda gateway: chosen.__setitem__(0, gateway)
    finally:
        server.close()
