"""Which calls are kept: the samplers that OpenTelemetry names, as one class with two numbers.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration
"""

from __future__ import annotations

from collections.abc import Mapping
from random import getrandbits

from inferencehub.core.traces.context import MOST_STATE, PARENT, SPANS, STATE, Trace, read_parent, sound

LOW = 2**64 - 1
ALL = 2**128 - 1
# By name: whether the caller's decision counts, and the share of all other traces; None for what the argument says.
SAMPLERS: Mapping[str, tuple[bool, float | None]] = {
    "always_on": (False, 1.0),
    "always_off": (False, 0.0),
    "traceidratio": (False, None),
    "parentbased_always_on": (True, 1.0),
    "parentbased_always_off": (True, 0.0),
    "parentbased_traceidratio": (True, None),
}


class Sampler:
    """Begins the trace of each call, and decides whether it is kept.

    Args:
        by_parent: whether the decision of who called counts, if they say one.
        share: of the other traces, from 0 to 1. The id decides, so all services keep the same ones.
    """

    def __init__(self, by_parent: bool, share: float) -> None:
        self._by_parent = by_parent
        self._bound = round(share * 2**64)

    def begin(self, fields: Mapping[bytes, bytes]) -> Trace:
        """The trace of a call with these headers, names in lower case."""
        bits = getrandbits(192)
        number = bits >> 128 & ~(SPANS - 1) | 1  # never zero, and the next ones are of the same length
        value = fields.get(PARENT)
        parent = None if value is None else read_parent(value)
        if parent is None:
            return Trace(f"{bits & ALL or 1:032x}", number, "", bits & LOW < self._bound)
        sampled = parent.sampled
        if not self._by_parent:
            sampled = int(parent.trace_id[16:], 16) < self._bound
        return Trace(
            parent.trace_id, number, parent.span_id, sampled, sound(fields.get(STATE, b""), MOST_STATE)
        )


def child_of(kept: str) -> Trace | None:
    """A trace that goes on, and is kept if the one before is; None if that has left nothing to go on from.

    Args:
        kept: see `Trace.kept`; "" for nothing. Any other text is nothing too, for a caller may have written it.
    """
    parent, _, state = kept.encode(errors="replace").partition(b" ")
    found = read_parent(parent)
    if found is None:
        return None
    number = getrandbits(64) & ~(SPANS - 1) | 1
    return Trace(found.trace_id, number, found.span_id, found.sampled, sound(state, MOST_STATE))
