"""One pod, as the gateway sees it: what it serves, and whether it accepts work.

One task connects to the pod, watches it until it is lost, and begins again after a backoff:

    connect     open a channel, ask for metadata, read the list of models
    watch       health Watch, one for the whole server and one for each model, reports changes at once; a server
                without Watch is asked ServerReady and ModelReady every second instead
    heartbeat   one health Check every second. A pod that is frozen, or whose node has vanished, keeps its connection
                and its last health status; only a heartbeat notices. After one miss the pod gets no more work, after
                two it is lost: its calls end and go back to their lanes. At the end of a drain, calls may finish.
    remove      a pod whose address discovery has removed gets no more work; its channel closes after its last call

grpcio's keepalive could find a frozen pod too, but both sides need matching options, which a foreign server lacks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.oip import extension
from inferencehub.core.process.tasks import first_of, until
from inferencehub.gateway.pods.catalog import Catalog
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.health import ANSWER_S
from inferencehub.gateway.pods.link import Contents, Failed, Lost, Message, Part, Place, PodState, reason
from inferencehub.gateway.pods.replica import Replica
from inferencehub.pb import open_inference_pb2 as pb

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
GIVEN_S = 1.0  # within this time a call that a lane has just given to a pod has begun there
LATE_S = ANSWER_S + 0.5  # if a heartbeat takes longer, this process itself was busy
MISSES = 2  # heartbeats without an answer after which a pod is lost
CATALOG_S = 5.0  # how often the list of models is read again
BACKOFF_S = (0.1, 1.0)  # first and longest wait before the gateway tries a lost pod again
ASKED = (extension.EXTENSION, extension.CALLERS, extension.REVISIONS)  # of what a pod says it has
# Log levels for the end of a connection, by state; any other state is a warning.
LEVELS = {PodState.LOST: logging.DEBUG, PodState.NOT_SERVING: logging.INFO}


class Pod:
    """One address.

    Args:
        address: host:port.
        slots: batches that a model gets at a time if the pod does not report its number of instances.
        channel: makes a channel to the pod.
        changed: called when the pod's models or its state have changed.
    """

    def __init__(
        self, address: str, slots: int, channel: Callable[[], Channel], changed: Callable[[], None]
    ) -> None:
        self.address = address
        self.changed = changed
        self.state = PodState.CONNECTING
        self.ended = False  # removed for ever
        self.ours = self.takes_callers = self.takes_changes = False
        self.pool = self.version = ""  # as the pod reports them
        self.described = False  # whether it has reported its models since it came up, or failed to
        self.catalog = Catalog(slots)
        self.replicas: dict[tuple[str, str], Replica] = {}
        self.tries = False
        self.beats = 0  # grows while its task works; see `routing/watchdog.py`
        self._unwanted, self._unhealthy = asyncio.Event(), set[str]()
        self._new_channel = channel
        self.channel: Channel | None = None
        self._check_now, self._read_now = asyncio.Event(), asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live())

    @property
    def wanted(self) -> bool:
        """False while discovery does not know the address."""
        return not self._unwanted.is_set()

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        (self._unwanted.clear if wanted else self._unwanted.set)()

    @property
    def up(self) -> bool:
        """Whether the pod accepts work."""
        return self.state is PodState.UP and self.wanted

    def serves(self, name: str) -> bool:
        """Whether the model `name` of this pod accepts work."""
        return self.up and name not in self._unhealthy

    def suspect(self) -> None:
        """A call broke: no more work until a heartbeat has been answered."""
        if self.state is PodState.UP:
            self._set_state(PodState.SILENT)
            self._check_now.set()

    def tried(self) -> None:
        """See `PodLink.tried`: wake the lanes of all models."""
        self.tries = False
        for replica in self.replicas.values():
            asyncio.get_running_loop().call_soon(replica.wake)

    async def alive(self) -> None:
        """See `PodLink.alive`."""
        if self.channel is None:
            raise Lost("there is no connection")
        await self.channel.alive()

    async def infer(
        self, message: Message, raw: Contents, timeout: float, large: bool, part: Part, trace: Place
    ) -> Any:
        """Call ModelInfer; see `Channel.infer`."""
        if self.channel is None:
            raise Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no connection", refused=True)
        return await self.channel.infer(message, raw, timeout, large, part, trace)

    async def look_for(self, name: str) -> None:
        """Ask the pod for a model that is not known yet, if the pod cannot list its models."""
        try:
            if self.up and self.channel is not None and await self.catalog.look_for(self.channel.ask, name):
                self._set_replicas()
                self.changed()
        except Lost:
            self._check_now.set()

    async def stop(self) -> None:
        """Close the channel; calls that run end as lost."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=ANSWER_S)

    async def retire(self) -> None:
        """Let the calls that run end, then stop: another `Pod` has taken over the address."""
        try:
            if (channel := self.channel) is not None:  # it may be lost meanwhile
                await asyncio.sleep(GIVEN_S)
                await channel.idle.wait()
        finally:
            await self.stop()

    # --- its life ---

    async def _live(self) -> None:
        backoff = BACKOFF_S[0]
        try:
            while self.wanted:
                self.beats += 1
                started = monotonic()
                await self._connect()
                if monotonic() - started > 10.0:
                    backoff = BACKOFF_S[0]
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, BACKOFF_S[1])
        finally:
            self.ended = True
            self._set_state(PodState.LOST)
            self.changed()

    async def _connect(self) -> None:
        """One connection, from its beginning to its end."""
        try:
            async with self._new_channel() as self.channel:
                await self._serve(self.channel)
        except (Lost, grpc.aio.AioRpcError) as error:
            log = {"pod": self.address, "reason": reason(error)}
            logger.log(LEVELS.get(self.state, logging.WARNING), "pod lost", extra=log)
        except Exception:
            logger.exception("pod failed", extra={"pod": self.address})
        finally:
            self.channel = None
            self._unhealthy.clear()
            self.described = True
            for replica in self.replicas.values():
                replica.others = 0
            self._set_state(PodState.LOST)

    async def _serve(self, channel: Channel) -> None:
        metadata = await channel.ask("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        told = metadata.extensions
        self.ours, self.takes_callers, self.takes_changes = (name in told for name in ASKED)
        self.pool, self.version = extension.pool_of(told), metadata.version
        if port := extension.stream_port_of(told):
            channel.stand(port)
        # Our pods have a name that says only whether they drain: while they load, each model's own name decides.
        watched = await channel.health.has_watch(*((extension.OPEN, "") if self.ours else ("",)))
        await self.read(channel)
        models = sorted(self.catalog.defaults)
        logger.info("pod connected", extra={"pod": self.address, "models": models})
        works = [self._heartbeat(channel.health.check if watched else lambda: self._poll(channel))]
        if watched:
            names, listed, ended = lambda: self.catalog.defaults, self._read_now.set, self._check_now.set
            works += channel.health.watches(names, self._server_says, self._set_model, listed, ended)
        try:
            await first_of(*works, self._reread(channel), self._let_go(channel))
        except Lost as error:
            while channel.running and not error.silent:
                self.beats += 1
                await until(channel.idle, HEARTBEAT_S)
            raise

    async def _heartbeat(self, ask: Callable[[], Awaitable[bool]]) -> None:
        missed = 0
        while True:
            self.beats += 1
            self._check_now.clear()
            asked = monotonic()
            try:
                ready = await ask()
            except Lost as error:
                if monotonic() - asked > LATE_S:
                    continue
                missed += 1
                if missed >= MISSES:
                    raise
                if self.state is not PodState.NOT_SERVING:
                    logger.warning("pod silent", extra={"pod": self.address, "reason": str(error)})
                    self._set_state(PodState.SILENT)
                continue
            missed = 0
            self._set_state(PodState.UP if ready else PodState.NOT_SERVING)
            await until(self._check_now, HEARTBEAT_S)

    async def _poll(self, channel: Channel) -> bool:
        """Ask a server without Watch for its readiness, and for the readiness of each model."""
        ready = await channel.server_ready()
        for name in self.catalog.defaults:
            self._set_model(name, await channel.model_ready(name))
            self.beats += 1
        return ready

    async def _reread(self, channel: Channel) -> None:
        while True:
            # Soon while models are being loaded, later less often.
            at_leisure = self.up and not self.catalog.loading
            await until(self._read_now, CATALOG_S if at_leisure else HEARTBEAT_S)
            self._read_now.clear()
            try:
                await self.read(channel)
            except Lost:
                self._check_now.set()
            except grpc.aio.AioRpcError as error:
                self.described = True
                logger.warning("models not listed", extra={"pod": self.address, "reason": reason(error)})

    async def _let_go(self, channel: Channel) -> None:
        while self.wanted or channel.running:
            await self._unwanted.wait()
            await channel.idle.wait()

    # --- what it serves ---

    async def read(self, channel: Channel) -> None:
        """Read the list of its models again."""

        async def ask(name: str, request: Any, reply: Any) -> Any:
            self.beats += 1
            return await channel.ask(name, request, reply)

        before = self.described, self.replicas, self.catalog.unavailable, self.catalog.loading
        await self.catalog.read(ask)
        self.described |= not self._read_now.is_set()  # there may be news since: the next one follows
        self._set_replicas()
        if before != (self.described, self.replicas, self.catalog.unavailable, self.catalog.loading):
            self.changed()

    def _set_replicas(self) -> None:
        self.replicas = {
            key: replica
            if (replica := self.replicas.get(key)) and replica.info == info
            else Replica(self, info)
            for key, info in self.catalog.models.items()
        }
        for key, replica in self.replicas.items():
            replica.config = self.catalog.configs.get(key)

    def _set_state(self, state: PodState) -> None:
        if state is not self.state:
            logger.info("pod state", extra={"pod": self.address, "was": self.state.value, "is": state.value})
            self.state = state
            if state is PodState.UP:
                self.described = False  # its last report may be from before it had loaded its models
            self._read_now.set()
            self.changed()

    def _server_says(self, serving: bool) -> None:
        if self.state is not PodState.SILENT:
            self._set_state(PodState.UP if serving else PodState.NOT_SERVING)

    def _set_model(self, name: str, serving: bool) -> None:
        if serving is (name in self._unhealthy):
            (self._unhealthy.discard if serving else self._unhealthy.add)(name)
            self._read_now.set()
            self.changed()
