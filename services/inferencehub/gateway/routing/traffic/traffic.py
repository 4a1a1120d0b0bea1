"""The file that says which version a call gets, which is read again when it changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inferencehub.core.files.watched import BadFile, WatchedFiles
from inferencehub.core.process.histogram import Histogram
from inferencehub.core.process.metrics import SECONDS
from inferencehub.core.values.errors import HubError, Kind, listed
from inferencehub.gateway.metrics import PREFIX
from inferencehub.gateway.routing.traffic.contents import read_traffic, shown
from inferencehub.gateway.routing.traffic.shadow import OUTCOMES, Shadow
from inferencehub.gateway.routing.traffic.split import Split, Version, Versions

logger = logging.getLogger(__name__)


class Call(Protocol):
    """What is needed of a call.

    `fields` are its headers, by names in lower case. `deferred` is set if it becomes a job in place of running now.
    `chosen` is set to its version, if the file names that one, else to None. `sticky` is set to those of `fields` that decide
    it, for a call that becomes a job.
    """

    chosen: Version | None
    sticky: Mapping[bytes, bytes]

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """See above."""

    @property
    def deferred(self) -> object | None:
        """See above."""


def no_entry(model: str) -> HubError:
    """The error of a question about a model that the file does not name."""
    return HubError(Kind.NOT_FOUND, f"model '{model[:80]}' has no entry in a file of traffic (HUB_TRAFFIC)")


class Traffic(WatchedFiles):
    """See the module's text; it is a collector of metrics, too.

    Args:
        file: see `contents.py`.
        setting: the name of the setting that names the file.
        lanes: the routing table.
        copy_limit_s: seconds that the run of a copy of a call may take.

    Raises:
        BadFile: if the file can't be used.
    """

    def __init__(self, file: str, setting: str, lanes: Versions, copy_limit_s: float) -> None:
        self._file = file
        self._copy_limit_s = copy_limit_s
        self._lanes = lanes
        self.splits: dict[str, Split] = {}
        self._shadows: dict[str, Shadow] = {}
        self._unknown: set[str] = set()
        self.seconds = Histogram(
            f"{PREFIX}_traffic_seconds",
            "time of calls of models that the file of traffic names, by version and by how they ended",
            ("model", "version", "outcome"),
            SECONDS,
        )
        super().__init__(setting, {setting: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`. A model whose entry is as it was goes on as it did."""
        try:
            read = read_traffic(contents[0])
        except ValueError as error:
            raise BadFile(f"{self.setting} ({self._file}) cannot be used: {error}") from None
        before, self.splits = self.splits, {}
        for model, entry in read.items():
            split = before.get(model)
            if split is None or split.entry != entry:
                split = Split(model, entry, self._lanes, self.seconds)
                about = {"model": model, "weights": shown(split.weights)}
                shadow = entry.shadow
                self._shadows.pop(model, None)
                if shadow is not None:
                    version = entry.version(shadow.version)
                    self._shadows[model] = Shadow(shadow, version, self._copy_limit_s)
                    about["shadow"] = shown({version: shadow.share})
                logger.info("traffic", extra=about)
            self.splits[model] = split
        self._shadows = {model: one for model, one in self._shadows.items() if model in read}
        self.note_unknown()

    def note_unknown(self) -> None:
        """Warn once of each model in the file that no pod has: its name may be misspelt, or its pods are still to come."""
        models = self._lanes.all_listed()
        if models is None:
            return
        unknown = self.splits.keys() - models.keys()
        for model in sorted(unknown - self._unknown):
            about = {"setting": self.setting, "model": model, "models": listed(sorted(models))}
            logger.warning("the file of traffic names a model that no pod has", extra=about)
        self._unknown = unknown

    def version(self, model: str, version: str, call: Call | None = None) -> str:
        """The version that a call gets, "" for the default one.

        Args:
            model, version: as the call names them; the version may be an alias, or "" for none.
            call: None for a question about the model, which gets the default version if it names none. So does a job that
                is to be kept: its version is chosen when it runs, by the header in `sticky`.
        """
        if call is not None:
            call.chosen = None  # of an earlier look
        split = self.splits.get(model)
        if split is None:
            return version
        if version:
            name = split.entry.version(version)
            if call is not None:
                call.chosen = split.versions.get(name)
            return name
        if call is None:
            return ""
        if call.deferred is not None:
            call.sticky = split.sticky(call.fields)
            return ""
        chosen = call.chosen = split.choose(call.fields)
        return "" if chosen is None else chosen.name

    def page(self, model: str) -> dict[str, object]:
        """How the calls of a model are split now, for its page.

        Raises:
            HubError: NOT_FOUND if the file has no entry for the model.
        """
        split = self.splits.get(model)
        if split is None:
            raise no_entry(model)
        shadow = self._shadows.get(model)
        return {**split.page(), "shadow": None if shadow is None else shadow.page()}

    def shadow(self, model: str) -> Shadow | None:
        """What gets copies of the calls of a model, and what they have shown; None if nothing does."""
        return self._shadows.get(model)

    def collect(self) -> Iterator[Metric]:
        """The share that each version has of the calls that name none, the one that the file wants, and which lost theirs."""
        wanted = GaugeMetricFamily(
            f"{PREFIX}_traffic_share_wanted",
            "share of the calls without a version that the file gives this version",
            labels=["model", "version"],
        )
        shares = GaugeMetricFamily(
            f"{PREFIX}_traffic_share",
            "share of the calls without a version that this version gets now",
            labels=["model", "version"],
        )
        back = GaugeMetricFamily(
            f"{PREFIX}_traffic_rolled_back",
            "1 if the version failed too often or was too slow, and gets no more calls",
            labels=["model", "version"],
        )
        for model, split in self.splits.items():
            if split.watched:
                back.add_metric([model, split.watched], bool(split.rolled_back))
            for family, weights in ((wanted, split.entry.shares), (shares, split.used)):
                whole = sum(weights.values()) or 1.0
                for name in {**split.weights, **weights}:
                    family.add_metric([model, name], weights.get(name, 0.0) / whole)
        yield from (wanted, shares, back)
        yield from self._collect_shadows()

    def _collect_shadows(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        copies = CounterMetricFamily(
            f"{PREFIX}_shadow_calls",
            "copies of calls that tried a version, by what became of them",
            labels=[*labels, "outcome"],
        )
        agreement = GaugeMetricFamily(
            f"{PREFIX}_shadow_agreement",
            "share of the copies that were answered as their calls",
            labels=labels,
        )
        ratio = GaugeMetricFamily(
            f"{PREFIX}_shadow_latency_ratio",
            "time of the copies' runs, divided by that of their calls",
            labels=labels,
        )
        for model, shadow in self._shadows.items():
            for outcome in OUTCOMES:
                copies.add_metric([model, shadow.version, outcome], shadow.copies[outcome])
            for family, value in ((agreement, shadow.agreement), (ratio, shadow.latency_ratio)):
                if value is not None:
                    family.add_metric([model, shadow.version], value)
        yield from (copies, agreement, ratio)
