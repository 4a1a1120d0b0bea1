"""Headers for browsers; `make test-tools` asks a real one: the page works, and what others try with it does not."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from inferencehub.core.auth.key_file import digest, new_key
from inferencehub.gateway.http_api.pages.docs_page import docs_page
from tests.browser import Browser, other_site
from tests.gateway.raw import Raw
from tests.hub import MODELS, Hub, mock_model, running_hub
from tests.programs import CHROMIUM, on_path

KEY = new_key("page")
NOWHERE = ("'none'", "default-src", "base-uri", "form-action", "frame-ancestors")
# Asks the gateway as a page does; what it could read, or the kind of its failure.
ASK = """fetch(%s, %s).then(async (answer) => [answer.status, answer.headers.get("x-request-id") !== null, await answer.text()],
                             (error) => [error.name])"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "v1-mock").symlink_to(MODELS / "v1-mock")
    mock_model(tmp_path / "models", "quick")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "page", "sha256": digest(KEY.encode()).hex()}]}))
    async with running_hub(tmp_path / "models", api_keys=str(file)) as running:
        yield running


async def test_the_page_has_a_policy_that_names_its_own_script_and_style(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("GET", "/docs")
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert [name for name, sources in rules.items() if sources == NOWHERE[0]] == list(NOWHERE[1:])
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.body.decode(), re.DOTALL)
        assert rules[f"{kind}-src"] == f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in str(rules)
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_nothing_in_the_page_needs_more_than_its_policy() -> None:
    html, _ = docs_page()
    assert len(re.findall(r"<(?:script|style)\b", html)) == 2
    assert not re.search(r'\son\w+="|\sstyle="|innerHTML|outerHTML|insertAdjacentHTML|eval\(', html)


async def test_no_page_and_no_refusal_is_taken_for_another_type(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        for path in ("/docs", "/openapi.json", "/", "/v2", "/v2/models", "/healthz", "/nothing"):
            answer = await raw.ask("GET", path)
            assert answer.headers["x-content-type-options"] == "nosniff", path
        key = f"x-api-key: {KEY}"
        for body, *more in ((b"{}",), (b"<script>", key), (b'{"features":[1],"model_name":"<script>"}', key)):
            answer = await raw.ask("POST", "/predict", body, *more)
            assert answer.status in (400, 401, 404)
            assert answer.headers["x-content-type-options"] == "nosniff", body


def beside_keys(browser: Browser) -> list[str]:
    """What a browser complains of, but that it had no key when it asked for the models."""
    return [text for text in browser.complaints if "401" not in text]


@pytest.mark.tools
async def test_a_browser_shows_the_page_and_its_forms_send(hub: Hub, tmp_path: Path) -> None:
    async with Browser(on_path(CHROMIUM), tmp_path / "profile") as browser:
        await browser.open(f"{hub.url}/docs#post_predict")
        assert await browser.becomes("document.querySelectorAll('details').length") > 20
        assert await browser.value("getComputedStyle(document.querySelector('summary')).display") == "flex"
        send = "document.querySelector('#post_predict form').requestSubmit()"
        said = "document.querySelector('#post_predict form [aria-live]').innerText"
        await browser.value(f"document.getElementById('key').value = {json.dumps(KEY)}; {send}")
        shown = await browser.becomes(f"{said}.includes('class_id') && {said}")
        assert shown.startswith("200 OK in ")
        assert "x-request-id" in shown
        assert not beside_keys(browser)


STRANGE = "<img src=x onerror=document.title='ran'>&quot;"


@pytest.mark.tools
async def test_a_browser_shows_the_served_models_with_forms_that_fit(tmp_path: Path) -> None:
    models = tmp_path / "models"
    mock_model(models, STRANGE)
    mock_model(models, "keyed")
    for name in ("sentiment", "markov-chat", "digits"):
        (models / name).symlink_to(MODELS / name)
    (models / "broken" / "1").mkdir(parents=True)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "page", "sha256": digest(KEY.encode()).hex()}]}))
    async with (
        running_hub(models, api_keys=str(file)) as hub,
        Browser(on_path(CHROMIUM), tmp_path / "profile") as browser,
    ):
        await browser.open(f"{hub.url}/docs")
        assert "key" in await browser.becomes("document.querySelector('#models .bad')?.innerText")
        await browser.value(
            f"key.value = {json.dumps(KEY)}; key.dispatchEvent(new Event('change')); undefined"
        )
        assert await browser.becomes("document.querySelectorAll('#models details').length") == 6
        shown = "[...document.querySelectorAll('#models summary code')].map((one) => one.innerText)"
        assert STRANGE in await browser.value(shown)
        broken = "document.querySelector('[data-model=broken] .bad').innerText"
        assert "config.pbtxt names no backend" in await browser.value(broken)
        for name, answer in (
            (STRANGE, "class_id"),
            ("sentiment", "label"),
            ("digits", "probabilities"),
            ("markov-chat", "text"),
        ):
            one = f"[...document.querySelectorAll('#models details')].find((one) => one.dataset.model === {json.dumps(name)})"
            await browser.value(f"{one}.open = true")
            await browser.becomes(f"!!{one}.querySelector('form')")
            await browser.value(f"{one}.querySelector('form').requestSubmit()")
            said = await browser.becomes(f"{one}.querySelector('form pre:last-child')?.innerText")
            assert answer in said, (name, said)
        assert await browser.value("document.title") == "InferenceHub API"
        assert not beside_keys(browser)


@pytest.mark.tools
async def test_a_browser_runs_no_other_script_in_the_page_and_calls_no_other_server(
    hub: Hub, tmp_path: Path
) -> None:
    async with Browser(on_path(CHROMIUM), tmp_path / "profile") as browser, other_site("") as elsewhere:
        await browser.open(f"{hub.url}/docs")
        await browser.becomes("document.querySelectorAll('details').length")
        assert not beside_keys(browser)
        assert await browser.value(ASK % (json.dumps(elsewhere), "{}")) == ["TypeError"]
        await browser.value(
            "(() => { const s = document.createElement('script'); s.append('window.ran = 1'); document.body.append(s); })()"
        )
        for change in ("body.innerHTML = '<b>'", "body.setAttribute('onclick', 'window.ran = 1')"):
            tried = f"(() => {{ try {{ document.{change}; }} catch (error) {{ return error.name; }} }})()"
            assert await browser.value(tried) == "TypeError"
        assert await browser.value("document.body.click(), window.ran === undefined")
        assert await browser.value("document.querySelectorAll('details').length > 20")
        assert len([text for text in browser.complaints if "Content Security Policy" in text]) >= 2


@pytest.mark.tools
async def test_a_browser_shows_the_page_in_no_frame(hub: Hub, tmp_path: Path) -> None:
    html = f"<iframe src='{hub.url}/docs'></iframe>"
    async with Browser(on_path(CHROMIUM), tmp_path / "profile") as browser, other_site(html) as elsewhere:
        await browser.open(elsewhere)
        assert any("frame-ancestors" in text for text in browser.complaints), browser.complaints


@pytest.mark.tools
@pytest.mark.parametrize("credentials", [False, True])
async def test_a_browser_lets_a_page_of_a_named_origin_call(tmp_path: Path, credentials: bool) -> None:
    mock_model(tmp_path / "models")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "page", "sha256": digest(KEY.encode()).hex()}]}))
    options = {
        "method": "POST",
        "headers": {
            "authorization": f"Bearer {KEY}",
            "x-request-timeout-ms": "20000",
            "content-type": "application/json",
        },
        "body": '{"features":[1,2,3],"model_name":"quick"}',
    }
    async with (
        Browser(on_path(CHROMIUM), tmp_path / "profile") as browser,
        other_site("named") as named,
        other_site("stranger") as stranger,
        running_hub(
            tmp_path / "models", api_keys=str(file), cors_origins=(named,), cors_credentials=credentials
        ) as hub,
    ):
        url = json.dumps(f"{hub.url}/predict")
        await browser.open(named)
        status, has_id, text = await browser.value(ASK % (url, json.dumps(options)))
        assert (status, has_id) == (200, True), text
        included = await browser.value(ASK % (url, json.dumps({**options, "credentials": "include"})))
        assert included[0] == (200 if credentials else "TypeError")
        keyless = await browser.value(ASK % (url, json.dumps({**options, "headers": {}})))
        assert keyless[:2] == [401, True], "the page reads why it is refused"
        await browser.open(stranger)
        assert await browser.value(ASK % (url, json.dumps(options))) == ["TypeError"]
