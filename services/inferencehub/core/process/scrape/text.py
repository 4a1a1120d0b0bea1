"""Lines of the text formats of Prometheus: 0.0.4, and OpenMetrics 1.0.0.

They are byte for byte what prometheus_client writes, which takes 10 times as long for a line: it sorts and checks the labels
of each. https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from prometheus_client.core import Metric, Sample
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

LINES = 50  # in a piece: about 0.1 ms
EOF = "# EOF\n"  # the end of OpenMetrics
PLAIN = ("counter", "gauge")
number: Callable[[float], str] = floatToGoString
CREATED = "_created"  # of a sample: a gauge of its own before OpenMetrics


def escaped(text: str) -> str:
    """A label's value, without its quotes."""
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return text


def labelled(names: Sequence[str], values: Sequence[str]) -> list[str]:
    """Labels with their values, in the order of their names."""
    pairs = sorted(zip(names, values, strict=True))
    return [f'{name}="{escaped(value)}"' for name, value in pairs]


def header(name: str, text: str, kind: str, openmetrics: bool) -> str:
    """The lines above a family. OpenMetrics names a counter without the end of its samples' names."""
    if openmetrics:
        return f"# HELP {name} {escaped(text)}\n# TYPE {name} {kind}\n"
    name = f"{name}_total" if kind == "counter" else name
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def in_pieces(lines: Iterable[str]) -> Iterator[str]:
    """Some lines at a time."""
    lines = iter(lines)
    while piece := "".join(islice(lines, LINES)):
        yield piece


def family_text(family: Metric, openmetrics: bool) -> Iterator[str]:
    """A family of the library, in pieces. One that has more than numbers with labels is written by the library."""
    samples = family.samples
    if family.type not in PLAIN or family.unit or any(map(has_more, samples)):
        yield library_text(family, openmetrics)
        return
    yield header(family.name, family.documentation, family.type, openmetrics)
    apart = "" if openmetrics else family.name + CREATED
    yield from in_pieces(
        line(sample.name, sample.labels, sample.value) for sample in samples if sample.name != apart
    )
    created = [sample for sample in samples if sample.name == apart]
    if created:
        yield header(apart, family.documentation, "gauge", openmetrics)
        yield from in_pieces(line(apart, sample.labels, sample.value) for sample in created)


def line(name: str, labels: dict[str, str], value: float) -> str:
    """A sample's line."""
    if labels:
        return f"{name}{{{','.join(labelled([*labels], [*labels.values()]))}}} {number(value)}\n"
    return f"{name} {number(value)}\n"


def has_more(sample: Sample) -> bool:
    """Whether a sample has more than a value, such as a time or an exemplar."""
    return any(field is not None for field in sample[3:])


class Alone:
    """A registry of one family, for the library."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        """The family."""
        return [self._family]


def library_text(family: Metric, openmetrics: bool) -> str:
    """A family as the library writes it."""
    generate: Callable[[Any], bytes] = generate_openmetrics if openmetrics else generate_latest
    return str(generate(Alone(family)), "utf-8").removesuffix(EOF)
