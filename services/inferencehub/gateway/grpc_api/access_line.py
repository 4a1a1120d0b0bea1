"""The fields of a gRPC call's line in the access log."""

from __future__ import annotations

import msgspec


class AccessLine(msgspec.Struct, gc=False):
    """A call's line in the access log, as `http_api/access_line.py` has it for HTTP; `code` is the gRPC status code.

    `status` is the HTTP status of the same end, so that one query finds the errors of both fronts.
    """

    time: float
    tier: str
    event: str
    front: str
    id: str
    method: str
    code: str
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
