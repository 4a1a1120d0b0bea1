"""Which pods do not have models as loads and unloads through the gateway have left them, and why."""

from __future__ import annotations

from inferencehub.core.process.doctor.finding import Finding, ok, warning
from inferencehub.gateway.routing.control.differences import (
    ABSENT,
    FIXED,
    OVERTAKEN,
    UNDER_WAY,
    Difference,
    Differences,
)

MOST_SHOWN = 20  # pods, each with one model
FIXES = {
    UNDER_WAY: "Wait; large models may take minutes.",
    FIXED: "Set HUB_MODEL_CONTROL=explicit for this pod: inference.modelControl in the chart.",
    OVERTAKEN: "Load or unload the model again, as it is to be. The store was away when this pod made the change, or has lost it.",
    ABSENT: "Put the model into the repository of this pod; it is loaded then. Pods of other models need a pool of their own.",
}


class WishedModels:
    """The check.

    Args:
        differences: what the gateway has seen.
    """

    def __init__(self, differences: Differences) -> None:
        self._differences = differences

    async def look(self) -> list[Finding]:
        """All findings."""
        found = self._differences.found
        if not found:
            return [ok("wished models", "all pods have them as wished")]
        findings = [of_one(one) for one in found[:MOST_SHOWN]]
        if (more := len(found) - MOST_SHOWN) > 0:
            fix = "Repair what is said of the others first."
            findings.append(warning("wished models", f"{more} more pods are not as wished", fix))
        return findings


def of_one(one: Difference) -> Finding:
    """A pod that is not as wished of one model."""
    wished = "loaded" if one.wish.loaded else "unloaded"
    return warning(
        f"model {one.wish.model}",
        f"it is to be {wished} at pod {one.pod}, and it is not: {one.why}",
        FIXES.get(one.why, "Repair what it says. The pod is told again within a minute; its log has more."),
    )
