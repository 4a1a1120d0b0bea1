"""What a dashboard is made of, and how Grafana wants it (schema 39, Grafana 10.4 and newer)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
# The labels that each series of a release has; both variables may be "All".
OF = 'namespace=~"$namespace",app_kubernetes_io_instance=~"$release"'
WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Args:
        expr: PromQL. The word OF in braces stands for the labels of the release, WINDOW for Grafana's window.
        legend: name of each series, with labels as {{label}}.
    """

    expr: str
    legend: str = ""

    @property
    def text(self) -> str:
        """The expression as Grafana gets it."""
        return self.expr.replace("OF", OF).replace("WINDOW", WINDOW)


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title, about: what it shows; `about` is a sentence or two.
        queries: what it asks for.
        unit: Grafana's name of the unit.
        kind: timeseries, stat or heatmap.
        width: of 24 columns.
        stacked: whether its series add up.
        limits: values from which a stat is orange and red.
        negative: whether its values may be below 0.
        link: the dashboard that a series leads to, and the label that goes with it as a variable of the same name.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    limits: tuple[float, float] | None = None
    negative: bool = False
    link: tuple[str, str] | None = None

    @property
    def height(self) -> int:
        """In Grafana's rows."""
        return 4 if self.kind == "stat" else 8

    def json(self, number: int, x: int, y: int) -> Json:
        """The panel as Grafana has it."""
        found: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
        }
        return found

    def _target(self, place: int, query: Query) -> Json:
        latency = "request_seconds_bucket" in query.expr
        return {
            "refId": chr(ord("A") + place),
            "expr": query.text,
            "legendFormat": query.legend or "__auto",
            "datasource": SOURCE,
            "range": self.kind != "stat",
            "instant": self.kind == "stat",
            "format": "heatmap" if self.kind == "heatmap" else "time_series",
            **({"exemplar": True} if latency and self.kind != "stat" else {}),
        }

    def _defaults(self) -> Json:
        found: Json = {"unit": self.unit} if self.negative else {"unit": self.unit, "min": 0}
        if self.kind == "timeseries":
            mode = "normal" if self.stacked else "none"
            found["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 10,
                "showPoints": "never",
                "stacking": {"mode": mode},
            }
        if self.kind == "stat":
            steps: list[Json] = [{"color": "green", "value": None}]
            if self.limits is not None:
                low, high = self.limits
                rising = low <= high
                colors = ("green", "orange", "red") if rising else ("red", "orange", "green")
                bounds = (None, low, high) if rising else (None, high, low)
                steps = [
                    {"color": color, "value": bound} for color, bound in zip(colors, bounds, strict=True)
                ]
            found["thresholds"] = {"mode": "absolute", "steps": steps}
            found["noValue"] = "no data"
        if self.link is not None:
            board, label = self.link
            url = f"/d/inferencehub-{board}?var-{label}=${{__field.labels.{label}}}&${{namespace:queryparam}}"
            found["links"] = [
                {
                    "title": f"{label} ${{__field.labels.{label}}}",
                    "url": f"{url}&${{release:queryparam}}&${{__url_time_range}}",
                }
            ]
        return found

    def _options(self) -> Json:
        if self.kind == "stat":
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value",
                "graphMode": "none",
            }
        if self.kind == "heatmap":
            return {
                "calculate": False,
                "yAxis": {"unit": self.unit},
                "color": {"mode": "scheme", "scheme": "Oranges"},
            }
        return {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Args:
        name: in addresses and file names.
        title: in Grafana's list.
        about: what question it answers.
        rows: panels by the title of their row, in order; a row's panels fill lines of 24 columns.
        variables: names of `VARIABLES` beside namespace and release.
    """

    name: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
    variables: tuple[str, ...] = field(default=())

    @property
    def panels(self) -> list[Panel]:
        """All panels."""
        return [panel for row in self.rows.values() for panel in row]

    def json(self, boards: list[Board]) -> Json:
        """The dashboard as Grafana has it, with links to all `boards`."""
        return {
            "uid": f"inferencehub-{self.name}",
            "title": f"InferenceHub: {self.title}",
            "description": self.about,
            "tags": ["inferencehub"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "timezone": "browser",
            "time": {"from": "now-1h", "to": "now"},
            "links": [link_to(board) for board in boards if board is not self],
            "annotations": {"list": ANNOTATIONS},
            "templating": {
                "list": [DATASOURCE, *(VARIABLES[name] for name in ("namespace", "release", *self.variables))]
            },
            "panels": self._laid_out(),
        }

    def _laid_out(self) -> list[Json]:
        laid: list[Json] = []
        y = 0
        for title, panels in self.rows.items():
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            laid.append(
                {
                    "id": len(laid) + 1,
                    "type": "row",
                    "title": title,
                    "collapsed": False,
                    "gridPos": place,
                    "panels": [],
                }
            )
            x, y, line = 0, y + 1, 0
            for panel in panels:
                if x + panel.width > COLUMNS:
                    x, y, line = 0, y + line, 0
                laid.append(panel.json(len(laid) + 1, x, y))
                x, line = x + panel.width, max(line, panel.height)
            y += line
        return laid


def link_to(board: Board) -> Json:
    """A link at the top of a dashboard, which keeps the time and the variables."""
    return {
        "type": "link",
        "title": board.title,
        "tooltip": board.about,
        "url": f"/d/inferencehub-{board.name}",
        "icon": "dashboard",
        "keepTime": True,
        "includeVars": True,
        "targetBlank": False,
    }


def variable(name: str, query: str) -> Json:
    """A variable whose values are those of a label; all of them at first."""
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


DATASOURCE: Json = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
VARIABLES = {
    name: variable(name, f"label_values({query.replace('OF', OF)}, {label})")
    for name, query, label in (
        ("namespace", "inferencehub_gateway_build_info", "namespace"),
        ("release", 'inferencehub_gateway_build_info{namespace=~"$namespace"}', "app_kubernetes_io_instance"),
        ("pool", "inferencehub_inference_build_info{OF}", "inferencehub_pool"),
        ("model", "inferencehub_gateway_queue_seconds_count{OF}", "model"),
        ("pod", "process_start_time_seconds{OF}", "pod"),
        ("tenant", "inferencehub_gateway_usage_calls_total{OF}", "tenant"),
    )
}
# A rollout is processes that start; the time of the start is the sample's value.
ANNOTATIONS: list[Json] = [
    {
        "name": "Starts of processes",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f"process_start_time_seconds{{{OF}}} * 1000",
        "useValueForTime": "on",
        "titleFormat": "{{pod}} started",
        "textFormat": "{{app_kubernetes_io_component}} {{inferencehub_pool}}",
        "step": "60s",
    },
    {
        "name": "Scaling",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"changes(inferencehub:inference_pods:count{{{OF}}}[1m]) > 0",
        "titleFormat": "number of pods changed",
        "textFormat": "pool {{inferencehub_pool}}",
        "step": "60s",
    },
]
