"""GET /demand on the ops port: the summed demand as JSON, for people and for KEDA's metrics-api scaler.

If the query has `release` and `pool` (and `namespace`), the answer is the demand for that pool, or 503 if it is not
known. Without a query, the answer is the demand for all pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import msgspec

from inferencehub.core.process.ops_port import JSON, Answer, Asked
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.total import Total


def demand_page(totals: Mapping[Release, Total], namespace: str) -> Callable[[Asked], Answer]:
    """Make the page.

    Args:
        totals: the demand by release; the scaler changes this mapping while it runs.
        namespace: the namespace of the release if the query names none.
    """

    def page(asked: Asked) -> Answer:
        query = {name: values[0] for name, values in parse_qs(asked.query.decode("latin-1")).items()}
        if not query:
            return 200, JSON, msgspec.json.encode({"demands": everything(totals)})
        release = Release(query.get("namespace", namespace), query.get("release", ""))
        pool = query.get("pool", "")
        for found in everything(totals):
            if (found["namespace"], found["release"], found["pool"]) == (*release, pool):
                return 200, JSON, msgspec.json.encode(found)
        sentence = f"the demand for pool '{pool[:80]}' of release '{release.name[:80]}' is not known"
        return 503, JSON, msgspec.json.encode({"error": sentence})

    return page


def everything(totals: Mapping[Release, Total]) -> list[dict[str, Any]]:
    """The known demands of all pools, each with its age and completeness."""
    found = []
    for release, total in sorted(totals.items()):
        reading = total.read(monotonic())
        if reading is not None:
            for pool, pods in sorted(reading.pools.items()):
                found.append(
                    {
                        "namespace": release.namespace,
                        "release": release.name,
                        "pool": pool,
                        "demand": round(pods, 3),
                        "window_s": round(reading.window_s, 1),
                        "age_s": round(reading.age_s, 1),
                        "gateways": reading.gateways,
                        "answered": reading.answered,
                        "complete": reading.complete,
                    }
                )
    return found
