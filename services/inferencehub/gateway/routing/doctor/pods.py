"""How the pods of a gateway stand, and why those that are not up are not: what the gateway knows, and what they say.

A pod that is up is not asked for anything but the time. Of the others, at most `MOST_LOOKED_AT` are looked at.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import time

import msgspec

from inferencehub import __version__
from inferencehub.core.process.doctor.ask import Told, ask
from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.network import Reach, handshake, reach
from inferencehub.core.process.doctor.process import of_clock
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.gateway.pods.link import PodState
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.doctor.names import counted, some
from inferencehub.gateway.routing.fleet import Fleet

MOST_LOOKED_AT = 8
ASK_S = 1.5
POLICY = (
    "Nothing refuses, and nothing answers: that is what a network policy does that drops packets, or a lost node. Gateways "
    "must reach the ports 50051, 50052 and 9090 of pods: kubectl get networkpolicies, and kubectl get nodes."
)


class Ready(msgspec.Struct):
    """The answer of /readyz."""

    ready: bool = False
    reason: str = ""


class Pods:
    """The checks of pods.

    Args:
        fleet: the pods.
        ops_certificate: for their ops ports; None if these speak in plain.
    """

    def __init__(self, fleet: Fleet, ops_certificate: OpsCertificate | None) -> None:
        self._fleet = fleet
        self._ops_certificate = ops_certificate

    async def look(self) -> list[Finding]:
        """All findings."""
        wanted = [pod for pod in self._fleet.pods.values() if pod.wanted]
        down = [pod for pod in wanted if not pod.up]
        up = [pod for pod in wanted if pod.up]
        findings, told = await asyncio.gather(
            asyncio.gather(*[self._of_down(pod, bool(up)) for pod in down[:MOST_LOOKED_AT]]),
            asyncio.gather(*[self._readyz(host_of(pod)) for pod in up[:MOST_LOOKED_AT]]),
        )
        found = [*findings, *self._summary(up, down), *of_versions(up), *of_streams(up)]
        answers = [(f"pod {pod.address}", one) for pod, one in zip(up, told, strict=False) if one is not None]
        return [*found, *of_readiness(answers), *of_clocks(answers)]

    def _summary(self, up: list[Pod], down: list[Pod]) -> list[Finding]:
        if not up and not down:
            if self._fleet.on_demand:
                return [ok("pods", "there are none; a request for a model of a pool that sleeps starts one")]
            fix = "Look whether pods run (kubectl get pods -l app.kubernetes.io/component=inference), and at the names above."
            return [fault("pods", "there are none, so requests get 503", fix)]
        if up:
            pools = Counter(pod.pool or "unnamed" for pod in up)
            shares = ", ".join(f"{pool}: {count}" for pool, count in sorted(pools.items()))
            return [ok("pods", f"{len(up)} of {len(up) + len(down)} accept work, by pool {shares}")]
        names = some([pod.address for pod in down])
        return [
            fault("pods", f"none accepts work, so requests get 503: {names}", "See what is said of each pod.")
        ]

    async def _of_down(self, pod: Pod, others: bool) -> Finding:
        """Why a pod gets no work."""
        host, port = host_of(pod), int(pod.address.rpartition(":")[2])
        what, seen = f"pod {pod.address}", await reach(host, port)
        worse = warning if others else fault
        if seen is Reach.SILENT:
            return fault(what, seen.value, POLICY)
        if seen is not Reach.OPEN:
            fix = (
                "It starts, fetches its models (kubectl describe pod says why it can't), ends, or listens at another port: "
                "kubectl get pods, and its log; the port in GRPC_SERVER_URL."
            )
            return worse(what, seen.value, fix)
        certificate = self._fleet.certificate
        if certificate is not None and pod.state is not PodState.NOT_SERVING:
            why = await handshake(host, port, certificate.context, certificate.calls)
            if why:
                fix = (
                    "Look at the Secrets of both tiers: HUB_TIER_TLS_CA must have the authority of the other side, the pod's "
                    "certificate the name in HUB_TIER_TLS_SERVER_NAME, and neither may have ended."
                )
                return fault(what, f"the tiers cannot speak TLS: {why}", fix)
        told = await self._readyz(host)
        if told is not None and (reason := reason_in(told)):
            fix = (
                "See that reason: python -m inferencehub.inference doctor in that pod, or its log, has more."
            )
            return worse(what, f"it accepts no work: {reason}", fix)
        if pod.state is PodState.NOT_SERVING:
            return worse(what, "it accepts no work: it loads or drains", "Wait, or look at its log.")
        fix = "If it stays so: does one tier speak TLS and the other does not, or does something else listen there?"
        return worse(
            what, f"it accepts connections, and does not answer as a pod does ({pod.state.value})", fix
        )

    async def _readyz(self, host: str) -> Told | None:
        """What the ops port of a pod says; None if it does not answer, or if nobody knows where it is."""
        target = next(iter(self._fleet.settings.roll_call), "")
        if not target:
            return None
        tls = None if self._ops_certificate is None else self._ops_certificate.asking
        try:
            return await ask(host, int(target.rpartition(":")[2]), "/readyz", tls, ASK_S)
        except (OSError, ValueError):
            return None


def host_of(pod: Pod) -> str:
    """The address of a pod without its port."""
    return pod.address.rpartition(":")[0].strip("[]")


def reason_in(told: Told) -> str:
    """Why a pod is not ready, as it says itself."""
    try:
        return msgspec.json.decode(told.body, type=Ready).reason
    except msgspec.DecodeError:
        return ""


def of_readiness(answers: list[tuple[str, Told]]) -> list[Finding]:
    """Pods that get work for the models that they serve, and are not ready as a whole."""
    fix = "Kubernetes counts it as not ready: a rollout waits for it. python -m inferencehub.inference doctor in that pod has more."
    reasons = [(what, reason_in(told)) for what, told in answers]
    return [
        warning(what, f"some of it works, but it is not ready: {reason}", fix)
        for what, reason in reasons
        if reason
    ]


def of_clocks(answers: list[tuple[str, Told]]) -> list[Finding]:
    """Clocks that differ; one line if none does."""
    ahead = [(what, told.ahead_s) for what, told in answers if told.ahead_s is not None]
    found = [one for what, ahead_s in ahead if (one := of_clock(what, time() + ahead_s)) is not None]
    bad = [one for one in found if one.fix]
    return bad or (
        [ok("clock", f"{counted(len(found), 'pod shows', 'pods show')} the same time")] if found else []
    )


def of_streams(up: list[Pod]) -> list[Finding]:
    """Pods that serve, and whose port for streams can't be reached."""
    lacking = [pod.address for pod in up if lacks_streams(pod)]
    if not lacking:
        return []
    seen = f"there is none to {some(lacking)}: batches go as single calls, which cost both sides more"
    return [warning("streams", seen, "Gateways must reach port 50052 of pods: look at the network policies.")]


def lacks_streams(pod: Pod) -> bool:
    """Whether a pod has a port for streams, and none of them stands."""
    kept = () if pod.channel is None else pod.channel.kept
    return bool(kept) and all(one.stream is None for one in kept)


def of_versions(up: list[Pod]) -> list[Finding]:
    """Whether pods of ours have the version of this gateway."""
    versions = Counter(pod.version for pod in up if pod.ours)
    others = sorted(version for version in versions if version != __version__)
    if others:
        seen = ", ".join(f"{counted(versions[one], 'pod has', 'pods have')} {one}" for one in others)
        fix = (
            "During an update that is as it should be. Else both images should have one tag: kubectl get deployments -o wide, "
            "and kubectl rollout status."
        )
        return [warning("versions", f"this gateway has {__version__}, and {seen}", fix)]
    return [ok("versions", f"all pods have {__version__}, as this gateway")] if versions else []
