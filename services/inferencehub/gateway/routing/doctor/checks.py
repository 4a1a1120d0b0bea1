"""What the doctor of a gateway looks at: names, pods, models, traffic, its files and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from inferencehub.core.process.doctor.doctor import Check, Doctor
from inferencehub.core.process.doctor.finding import Finding
from inferencehub.core.process.doctor.process import of_files, of_limits
from inferencehub.core.process.metrics import Reloaded
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.gateway.routing.doctor.models import ServedModels
from inferencehub.gateway.routing.doctor.names import Names
from inferencehub.gateway.routing.doctor.pods import Pods
from inferencehub.gateway.routing.doctor.traffic import ServedTraffic
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.settings.gateway import GatewaySettings


def doctor_of(
    settings: GatewaySettings,
    table: RoutingTable,
    ops_certificate: OpsCertificate | None,
    sources: Sequence[Reloaded],
    others: Mapping[str, Check],
) -> Doctor:
    """The doctor of a gateway.

    Args:
        settings: of the gateway.
        table: the pods that it knows, and what they serve.
        ops_certificate: of the ops port, which it shows to those of pods; None if they speak plain HTTP.
        sources: files that are read again when they change.
        others: checks of what not every gateway has, by what each looks at.
    """

    async def files() -> list[Finding]:
        return of_files(sources)

    checks: dict[str, Check] = {
        "names": Names(table.fleet, settings.gateways).look,
        "pods": Pods(table.fleet, ops_certificate).look,
        "models": ServedModels(table.fleet).look,
        "traffic": ServedTraffic(table).look,
        "files": files,
        "limits": partial(of_limits, settings.queue_bytes, settings.max_connections),
    }
    return Doctor("gateway", {**checks, **others})
