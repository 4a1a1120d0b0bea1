"""The fields of a request's line in the access log."""

from __future__ import annotations

import msgspec


class AccessLine(msgspec.Struct, gc=False):
    """A request's line in the access log; fields are written in this order. `time` is Unix time in seconds."""

    time: float
    tier: str
    event: str
    front: str
    id: str
    method: str
    path: str
    model: str
    status: int
    kind: str
    batch: int
    ms: float
    queue_ms: float
    batch_ms: float
    network_ms: float
    compute_ms: float
    served_by: str
    caller: str
    tenant: str
