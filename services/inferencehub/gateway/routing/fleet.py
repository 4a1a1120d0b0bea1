"""All pods that the gateway knows: a `Pod` for each address that discovery or a pod probe found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from inferencehub.core.process.tasks import cancelled, until
from inferencehub.core.tls.certificate import Contents
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.discovery import Discovery
from inferencehub.gateway.pods.link import PodState, home_of
from inferencehub.gateway.pods.pod import HEARTBEAT_S, Pod
from inferencehub.gateway.pods.pod_probe import PodProbe
from inferencehub.gateway.routing.watchdog import Watchdog
from inferencehub.gateway.settings.gateway import GatewaySettings

MIN_MESSAGE_BYTES = 64 * 2**20


class Fleet:
    """All pods of this gateway.

    Args:
        settings: the gateway's settings.
        ops_certificate: for the pods' ops ports; None if they speak in plain.

    Raises:
        BadFile: if the certificate for the pods can't be used.

    `changed` is called when a pod came or went, and when its models or its health changed.
    """

    def __init__(self, settings: GatewaySettings, ops_certificate: OpsCertificate | None = None) -> None:
        self.settings = settings
        self.certificate = settings.tier_certificate(calls=settings.tier_tls_server_name)
        self.changed: Callable[[], None] = lambda: None
        self.pods: dict[str, Pod] = {}
        self.on_demand = settings.on_demand()
        self.discovery = Discovery(settings.backends, settings.resolve_s, self._found, reached=self._reached)
        self._pod_probe = PodProbe(settings.roll_call, self.discovery.met, self._only, ops_certificate)
        self.watchdog = Watchdog(lambda: self.pods.values(), self._replace)
        self._retiring: set[asyncio.Task[None]] = set()
        self._renewing: set[asyncio.Task[None]] = set()

    @property
    def most_message_bytes(self) -> int:
        """Bytes of the largest message that a pod may send."""
        return max(MIN_MESSAGE_BYTES, 2 * self.settings.max_body_bytes)

    async def start(self) -> None:
        """Begin to look for pods, and continue in the background."""
        if self.certificate is not None:
            self.certificate.changed = self._renew
            self.certificate.start()
        await self.discovery.start()
        self._pod_probe.start()
        self.watchdog.start()

    async def stop(self) -> None:
        """Close the connections to all pods."""
        if self.certificate is not None:
            await self.certificate.stop()
        await cancelled(self._renewing)
        await self.watchdog.stop()
        await self._pod_probe.stop()
        await self.discovery.stop()
        await asyncio.gather(*[pod.stop() for pod in self.pods.values()], cancelled(self._retiring))

    @property
    def ready(self) -> bool:
        """Whether at least one pod accepts work."""
        return any(pod.up for pod in self.pods.values())

    @property
    def serves(self) -> bool:
        """Whether requests can be answered: a model of a pod serves, or the first request starts a pod."""
        served = any(pod.serves(name) for pod in self.pods.values() for name in pod.catalog.defaults)
        return served or bool(self.on_demand)

    def counts(self) -> dict[PodState, int]:
        """The number of pods in each state."""
        states = [pod.state for pod in self.pods.values()]
        return {state: states.count(state) for state in PodState}

    def unavailable(self) -> dict[str, str]:
        """The newest reason why a model is not served, by the name of the model; only models that pods list.

        A pod that is not reached any more gives no reason.
        """
        newest: dict[str, tuple[float, str]] = {}
        for pod in self.pods.values():
            if pod.wanted and self._reached(pod.address):
                for name, why in pod.catalog.unavailable.items():
                    newest[name] = max(newest.get(name, (0.0, "")), (pod.catalog.since[name], why))
        return {name: why for name, (_, why) in newest.items()}

    def hopeless(self) -> set[str]:
        """The models that no pod will serve soon: each pod is up, and those that list the model cannot load it."""
        pods = self.pods.values()
        if not all(pod.up and pod.described for pod in pods):
            return set()
        broken = {name for pod in pods for name in pod.catalog.unavailable.keys() - pod.catalog.loading}
        if not broken:
            return broken
        may_come = {name for pod in pods for name in {*pod.catalog.loading, *pod.catalog.defaults}}
        return broken - may_come

    def withdrawn(self, key: tuple[str, str], pools: set[str]) -> bool:
        """Whether pods took back a version, or a model as version "", that they served before.

        They did if all pods are up, none of them lists it any more, and each pool that served it last has a pod. A pool
        without pods says nothing: its pods may be lost for a while, or it sleeps.

        Args:
            key: the model and its version.
            pools: as `home_of` of the pods that served it last.
        """
        pods = self.pods.values()
        return (
            all(pod.up and pod.described and key not in pod.catalog.listed_keys for pod in pods)
            and pools <= {home_of(pod) for pod in pods}
        )  # fmt: skip

    def hold_s(self, model: str) -> float:
        """Seconds for which a request waits for a model that no pod serves."""
        return self.settings.activation_s if model in self.on_demand else self.settings.hold_s

    async def look_for(self, model: str) -> None:
        """Ask each pod that cannot list its models whether it has this one."""
        await asyncio.gather(*[pod.look_for(model) for pod in self.pods.values() if not pod.catalog.listed])

    def _reached(self, address: str) -> bool:
        pod = self.pods.get(address)
        return pod is not None and pod.state not in (PodState.CONNECTING, PodState.LOST)

    def _found(self, addresses: set[str]) -> None:
        for address in addresses - self.pods.keys():
            self.pods[address] = self._new_pod(address, self._changed)
        for address, pod in self.pods.items():
            pod.wanted = address in addresses
        self._changed()

    def _new_pod(self, address: str, changed: Callable[[], None]) -> Pod:
        channel = partial(Channel, address, self.most_message_bytes, self.certificate)
        return Pod(address, self.settings.backend_slots, channel, changed)

    def _renew(self, before: Contents) -> None:
        """The certificate is a new one, but connections keep the one that they were made with: make new connections."""
        for task in self._renewing:
            task.cancel()
        for pod in self.pods.values():
            renewing = asyncio.get_running_loop().create_task(self._connect_again(pod))
            self._renewing.add(renewing)
            renewing.add_done_callback(self._renewing.discard)

    async def _connect_again(self, pod: Pod) -> None:
        """Let a new `Pod` take over the address once it is connected, or never if the old one goes before."""

        def goes_on() -> bool:
            return pod.wanted and self.pods.get(pod.address) is pod

        async with self._connected(pod.address, (PodState.UP, PodState.NOT_SERVING), goes_on) as new:
            if new is not None:
                self._replace(pod, new)

    async def _only(self, address: str) -> None:
        """Let the pod at `address` take the place of all that pod probes have met, in one step once it accepts work."""
        if not self.pods or address in self.pods:
            self.discovery.met(address, only=True)
            return
        async with self._connected(address, (PodState.UP,), lambda: address not in self.pods) as new:
            if new is not None:
                self.pods[address] = new
                self.discovery.met(address, only=True)  # those before get nothing from now on

    @asynccontextmanager
    async def _connected(
        self, address: str, states: Collection[PodState], goes_on: Callable[[], bool]
    ) -> AsyncIterator[Pod | None]:
        """A new `Pod` that is in one of these states and has reported its models; it stops unless it becomes one of `pods`.

        None if `goes_on` has become false before.
        """
        came = asyncio.Event()
        new = self._new_pod(address, came.set)
        try:
            while not (ready := new.described and new.state in states) and goes_on():
                await until(came, HEARTBEAT_S)
                came.clear()
            new.changed = self._changed
            yield new if ready and goes_on() else None
        finally:
            if self.pods.get(address) is not new:
                await new.stop()

    def _replace(self, pod: Pod, by: Pod | None = None) -> None:
        """Let a new `Pod` take over the address of one that is stuck, or whose connection is old."""
        del self.pods[pod.address]
        if pod.wanted:
            self.pods[pod.address] = by or self._new_pod(pod.address, self._changed)
        retiring = asyncio.get_running_loop().create_task(pod.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._changed()

    def _changed(self) -> None:
        self.pods = {address: pod for address, pod in self.pods.items() if not pod.ended}
        self.changed()
