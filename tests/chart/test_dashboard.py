"""The chart's dashboards: as they are described, whole, and one set for each release."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dashboards.__main__ import text_of
from dashboards.boards import BOARDS
from tests.chart.rendering import CHART, Object, at, of_kind, render

FILES = {path.stem: path for path in (CHART / "files" / "dashboards").glob("*.json")}
NAMES = [board.name for board in BOARDS]
ENABLED = at("monitoring.dashboard.enabled", True)
MOST_BYTES = 200_000  # of 262,144 that `kubectl apply` can keep of an object, and of the MiB of a ConfigMap


def read(name: str) -> Object:
    """A dashboard of the chart."""
    found: Object = json.loads(FILES[name].read_text())
    return found


def panels(dashboard: Object) -> list[Object]:
    """Its panels without the titles of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_files_are_as_described() -> None:
    assert FILES.keys() == set(NAMES)
    for board in BOARDS:
        assert FILES[board.name].read_text() == text_of(board), "run make dashboards"


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_whole_and_stand_beside_each_other(name: str) -> None:
    dashboard = read(name)
    cells: list[tuple[int, int]] = []
    for panel in dashboard["panels"]:
        at_, size = (panel["gridPos"][one] for one in "xy"), (panel["gridPos"][one] for one in "wh")
        (x, y), (wide, high) = at_, size
        cells += [(x + i, y + j) for i in range(wide) for j in range(high)]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(titles) == len(set(titles))
    for panel in panels(dashboard):
        assert panel["type"] in {"timeseries", "stat", "heatmap"}
        assert panel["title"], name
        assert panel["description"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
        for target in panel["targets"]:
            assert (
                target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            )


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_asked_for_is_there_and_the_other_way_round(name: str) -> None:
    dashboard = read(name)
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    texts = json.dumps([dashboard["panels"], dashboard["templating"]])
    asked = set(re.findall(r"\$\{?([a-z]+)", texts))
    assert asked - known == set(), "without those of Grafana, which begin with __"
    assert known - {"datasource"} <= asked
    assert {"namespace", "release"} <= known


@pytest.mark.parametrize("name", NAMES)
def test_it_links_to_all_others_and_to_no_page_that_is_not_there(name: str) -> None:
    dashboard = read(name)
    to = {link["url"].removeprefix("/d/inferencehub-") for link in dashboard["links"]}
    assert to == set(NAMES) - {name}
    for board, label in re.findall(r"/d/inferencehub-(\w+)\?var-(\w+)=", json.dumps(dashboard["panels"])):
        assert label in {variable["name"] for variable in read(board)["templating"]["list"]}


def test_each_release_has_dashboards_of_its_own() -> None:
    found: list[set[str]] = []
    for release in ("blue", "green"):
        config_maps = of_kind(render(ENABLED, release), "ConfigMap")
        assert len(config_maps) == len(BOARDS)
        uids = set()
        for config_map in config_maps:
            assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
            ((key, text),) = config_map["data"].items()
            assert len(text) < MOST_BYTES
            dashboard = json.loads(text)
            board = config_map["metadata"]["name"].rpartition("-")[2]
            assert key == f"{dashboard['uid']}.json"
            assert len(dashboard["uid"]) <= 40, "Grafana's limit"
            assert f"(ml/{release}-inferencehub)" in dashboard["title"]
            assert "inferencehub-" not in re.sub(r"[\w-]*inferencehub\)", "", "".join(urls(dashboard)))
            assert panels(dashboard) == panels(with_uid(read(board), dashboard["uid"].rpartition("-")[0]))
            chosen = {one["name"]: one.get("current") for one in dashboard["templating"]["list"]}
            assert chosen["release"] == {"text": [release], "value": [release]}
            assert chosen["namespace"] == {"text": ["ml"], "value": ["ml"]}
            uids.add(dashboard["uid"])
        assert len(uids) == len(BOARDS)
        found.append(uids)
    assert not found[0] & found[1]


def urls(dashboard: Any) -> list[str]:
    """All addresses in it."""
    return re.findall(r'"url": "([^"]*)"', json.dumps(dashboard))


def with_uid(dashboard: Object, uid: str) -> Object:
    """A dashboard whose links lead to those of a release."""
    found: Object = json.loads(json.dumps(dashboard).replace("/d/inferencehub-", f"/d/{uid}-"))
    return found
