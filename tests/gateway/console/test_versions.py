"""The console's part on the file of traffic: versions, their shares, aliases, rollbacks and copies of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.gateway.console.looking import looking, of
from tests.gateway.console.pictures import NARROW, OUTSIDE, WIDE, look_with, text_of, violations
from tests.gateway.keyed_hub import bearer, hub_with_keys
from tests.gateway.routing.traffic.test_rollback import asked, models
from tests.gateway.routing.traffic.versions import split_hub, versions_of_mock, write
from tests.hub import Hub, mock_model, running_hub
from tests.programs import CHROMIUM, on_path

CALLS = 200
ENTRY = {
    "weights": {"stable": 75, "canary": 25, "7": 0},
    "aliases": {"stable": "1", "canary": "2"},
    "sticky": "x-user-id",
    "rollback": {"version": "canary", "error_share": 0.1, "calls": 20},
    "shadow": {"version": "2", "share": 0.5},
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """Model `m` in versions 1 and 2, of which the second one fails."""
    (models(tmp_path) / "broken").touch()
    async with split_hub(tmp_path, ENTRY) as running:
        yield running


def rolled_back(shown: dict[str, Any]) -> bool:
    """Whether a snapshot shows version 2 as rolled back, and the calls of `asked`."""
    one, two, _ = of(shown["splits"], "m")["versions"]
    return bool(two["rolled_back"]) and one["calls"]["ok"] + two["calls"]["failed"] == CALLS


async def test_a_split_is_shown_as_the_gateway_holds_it_until_it_is_rolled_back(hub: Hub) -> None:
    async with looking(hub) as look, looking(hub, ops=True) as other:
        one, two, seven = of((await look.snapshot())["splits"], "m")["versions"]
        assert (one["aliases"], one["wanted"], one["share"], one["pods"]) == (["stable"], 0.75, 0.75, 1)
        assert (two["aliases"], two["wanted"], two["share"], two["pods"]) == (["canary"], 0.25, 0.25, 1)
        assert (seven["wanted"], seven["share"], seven["pods"]) == (0, 0, 0)
        statuses = [status for status, _ in await asked(hub, CALLS)]
        shown = await look.snapshot(rolled_back)
        row = of(shown["splits"], "m")
        one, two, _ = row["versions"]
        assert (two["wanted"], two["share"]) == (0.25, 0)
        assert "calls in 60 s failed, at most the share 0.1 may" in two["rolled_back"]
        assert (one["calls"]["ok"], two["calls"]["failed"]) == (statuses.count(200), statuses.count(500))
        assert (row["sticky"], row["shadow"]["version"], row["more"]) == ("x-user-id", "2", 0)
        _, page, _ = await hub.get("/v2/models/m/traffic")
        assert row["shadow"].keys() == page["shadow"].keys()
        assert (await other.snapshot(rolled_back))["splits"][0]["versions"][1] == two


async def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub, looking(hub) as look:
        assert (await look.snapshot())["splits"] == []


async def test_callers_see_the_versions_of_their_models(tmp_path: Path) -> None:
    file = tmp_path / "traffic.json"
    write(file, {"quick": {"weights": {"1": 1}}, "hidden": {"weights": {"1": 1}}})
    async with hub_with_keys(tmp_path, traffic=str(file)) as hub:
        for key, models_ in (("few", ["quick"]), ("all", ["hidden", "quick"])):
            async with looking(hub, headers=bearer(key)) as look:
                assert [row["model"] for row in (await look.snapshot())["splits"]] == models_


async def test_of_many_versions_those_that_get_most_are_shown(tmp_path: Path) -> None:
    versions_of_mock(tmp_path / "models", "30")
    weights = {str(version): version for version in range(1, 31)}
    async with split_hub(tmp_path, {"weights": weights}) as hub, looking(hub) as look:
        row = of((await look.snapshot())["splits"], "m")
        assert (len(row["versions"]), row["more"]) == (20, 10)
        assert [(one["version"], one["pods"]) for one in row["versions"][:2]] == [("30", 1), ("1", 1)]


@pytest.mark.tools
async def test_the_page_shows_what_was_rolled_back_to_all_who_read_it(hub: Hub, tmp_path: Path) -> None:
    card = text_of("#splits > li")
    async with Browser(on_path(CHROMIUM), tmp_path / "profile") as browser:
        await look_with(browser, NARROW)
        await browser.open(f"{hub.url}/console")
        assert "version 1 75 %" in await browser.becomes(f"{card}.includes('version 2 (canary)') && {card}")
        statuses = [status for status, _ in await asked(hub, CALLS)]
        text = await browser.becomes(f"{card}.includes('rolled back') && {card}")
        assert "at most the share 0.1 may" in text
        assert "calls with the same x-user-id" in text
        assert "version 2 gets copies of 50 %" in text
        assert f"failed\n{statuses.count(500)}" in text
        label = "document.querySelector('#splits svg').getAttribute('aria-label')"
        assert await browser.value(label) == "calls that name no version, in %: version 1 100"
        for width, dark in ((NARROW, True), (WIDE, False)):
            await look_with(browser, width, dark)
            assert await violations(browser) == []
            assert await browser.value(OUTSIDE) == []
        evil = "<img src=x onerror=window.ran=1>"
        write(tmp_path / "traffic.json", {evil: {"weights": {"1": 1}}})
        assert evil in await browser.becomes(f"{card}.includes('img') && {card}")
        assert await browser.value("document.querySelectorAll('img').length + (window.ran || 0)") == 0
        write(tmp_path / "traffic.json", {})
        await browser.becomes("document.getElementById('splits-section').hidden")
        assert not browser.complaints
