"""An inference service that gets a new process when its models change, as a rollout on a cluster does.

    change   a file below the repository is another one, and nobody writes any more
    load     a process that has waited with everything imported, and with ports of its own, loads the models
    switch   if every model loads that loaded before, the gateway is told its address; it connects within 0.2 s, and then
             gives all calls to the new process, from one moment to the next
    drain    the gateway has said that it does; the old process answers the calls that run, and ends

If the files change again while they are loaded, that process ends, and another one loads the newest: who saves a file waits for
no load but its own. But of files that change all the time, some must be loaded, so after `MOST_OVERTAKEN` such ends in a row a
load goes on.

If a model does not load, the new process ends, the old one stays, and its sentence is said. So calls never see a file that is
half written or half right.

The gateway finds the newest process as it finds pods behind a load balancer: its pod probes (HUB_ROLL_CALL) ask `address`, one
port of this process, which answers that the newest process is the only one. The gateway's next question says that it is so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from inferencehub.cli.processes.changes import changed
from inferencehub.cli.processes.ports import Port, chosen
from inferencehub.cli.processes.supervisor import Tier, say
from inferencehub.core.files.tree import Seen, look
from inferencehub.core.process.doctor.ask import ask
from inferencehub.core.process.doctor.command import told_by
from inferencehub.core.process.doctor.finding import Level

ASK_S = 0.02  # between two questions whether a process has loaded its models
ANSWER_S = 15.0
MOST_OVERTAKEN = 5
CALLS_GO_TO = re.compile(r"^x-calls-go-to: (\S+)\r$", re.MULTILINE)  # see `gateway/pods/pod_probe.py`
ANSWER = (
    "HTTP/1.1 200 OK\r\nx-only-pod: yes\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{address}"
)
LOADING = b"being loaded"  # what a process says at /readyz until each model has loaded, or has failed


class Rollout:
    """The inference service of `run --reload`; it has the methods of a `Tier`.

    Args:
        name: what it is called in sentences.
        models: the repository.
        port: where it tells the gateway's pod probes the newest process.
        first: the port and the ops port of the first process; later ones take free ones.
        make: makes a spare process.
    """

    def __init__(
        self, name: str, models: Path, port: int, first: tuple[int, int], make: Callable[[], Tier]
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self._models = models
        self._port = port
        self._first = first
        self._make = make
        self._current = make()
        self.settings = self._current.settings
        self._names: set[str] = set()  # the models of the current process,
        self._faults: Mapping[str, str] = {}  # and what does not load in it
        self._switched = asyncio.Event()  # set each time when the gateway says where calls go
        self._calls_go_to = ""  # the address that it said last
        self._runs: dict[Tier, asyncio.Task[int]] = {}
        self._waiting: set[asyncio.Task[bool]] = set()

    async def keep_running(self) -> int:
        """Run the process, and newer ones in its place, until `stop`.

        Returns:
            As `Tier.keep_running`.
        """
        telling = await asyncio.start_server(self._tell, "127.0.0.1", self._port)
        seen = await asyncio.to_thread(look, self._models)
        self._current = self._spare()
        self._begin(self._current, *self._first)
        following = asyncio.create_task(self._follow(seen))
        try:
            while True:
                running = self._current
                run = self._runs[running]
                await asyncio.wait([run, following], return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()  # it never ends but by an error
                if run.done() and running is self._current:
                    return run.result()
        finally:
            following.cancel()
            telling.close()
            self.stop()
            await asyncio.gather(*self._runs.values(), *self._cancelled(), following, return_exceptions=True)

    def stop(self) -> None:
        """End all processes when their running requests have their answers."""
        for tier in [*self._runs]:
            tier.stop()

    def kill(self) -> None:
        """End all processes now."""
        for tier in [*self._runs]:
            tier.kill()

    def _cancelled(self) -> list[asyncio.Task[bool]]:
        for waiting in self._waiting:
            waiting.cancel()
        return [*self._waiting]

    def _begin(self, tier: Tier, port: int, ops_port: int) -> None:
        """Let a spare process load its models and serve."""
        tier.begin(port, ops_port)
        waiting = asyncio.create_task(tier.ready.wait())
        self._waiting.add(waiting)
        waiting.add_done_callback(self._was_ready)

    def _was_ready(self, waiting: asyncio.Task[bool]) -> None:
        self._waiting.discard(waiting)
        if not waiting.cancelled():
            self.ready.set()

    def _spare(self) -> Tier:
        """A process that has imported everything, and waits."""
        tier = self._make()
        self._runs[tier] = asyncio.create_task(tier.keep_running())
        return tier

    async def _follow(self, seen: Seen) -> None:
        await self._loaded(self._current)
        self._names, self._faults = names_in(self._models, seen), await faults(self._current)
        while True:
            spare = self._spare()
            seen = await changed(self._models, seen)
            new, seen, began = await self._load(spare, seen)
            await self._replace(new, names_in(self._models, seen), began)

    async def _load(self, new: Tier, seen: Seen) -> tuple[Tier, Seen, float]:
        """Let a spare process load the models, and another one in its place if they change again meanwhile.

        Args:
            new: the process.
            seen: the files.

        Returns:
            The process that has loaded, the files that it has seen, and when it began.
        """
        for left in reversed(range(MOST_OVERTAKEN + 1)):
            began = monotonic()
            self._begin(new, free_port(), free_port())
            loading = asyncio.create_task(self._loaded(new))
            changing = asyncio.create_task(changed(self._models, seen))
            try:
                await asyncio.wait(
                    [loading, *([changing] if left else [])], return_when=asyncio.FIRST_COMPLETED
                )
                if loading.done():
                    loading.result()
                    break
                seen = changing.result()
            finally:
                loading.cancel()
                changing.cancel()
            say("the models have changed again, and the newest are loaded; those from before go on")
            await self._give_up(new)
            new = self._spare()
        return new, seen, began

    async def _give_up(self, new: Tier) -> None:
        """End a process that gets no calls."""
        new.kill()
        await self._runs.pop(new)

    async def _replace(self, new: Tier, names: set[str], began: float) -> None:
        """Let a new process, which began to load these models then, take over if all load that loaded before."""
        old = self._current
        found = await faults(new)
        may_fail = {*self._faults, *(f"model {name}" for name in names - self._names)}
        worse = [said for what, said in found.items() if not {what, model_of(what)} & may_fail]
        if new.stopping.is_set():  # all ends
            await self._give_up(new)
            return
        if worse:
            say(f"the change is not used, and the models from before go on: {'; '.join(worse)}")
            await self._give_up(new)
            return
        took = monotonic() - began
        self._current, self._names, self._faults = new, names, found
        while self._calls_go_to != address_of(new):
            self._switched.clear()
            await self._switched.wait()
        say(f"the models have changed, calls go to the new ones, which loaded in {took:.2f} s")
        for said in found.values():
            say(said)
        self._runs[old].add_done_callback(lambda _: self._runs.pop(old, None))
        old.drain()

    async def _loaded(self, tier: Tier) -> None:
        """Wait until a process has loaded its models, as far as they load."""
        while not tier.stopping.is_set() and not self._runs[tier].done():
            try:
                told = await ask("127.0.0.1", tier.ops_port, "/readyz", None, ANSWER_S)
            except (OSError, ValueError):
                pass
            else:
                if told.status == 200 or LOADING not in told.body:
                    return
            await asyncio.sleep(ASK_S)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a pod probe with the address of the newest process, and see in it where calls go."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if said := CALLS_GO_TO.search(head):
                self._calls_go_to = said[1]
                self._switched.set()
            address = address_of(self._current)
            writer.write(ANSWER.format(length=len(address), address=address).encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked has gone, and asks again
        finally:
            writer.close()


def address_of(tier: Tier) -> str:
    """The address of a process, as the gateway knows it."""
    return f"127.0.0.1:{tier.settings['PORT']}"


def model_of(what: str) -> str:
    """The model that a fault is about: "model m" of "model m version 1"."""
    return what.partition(" version ")[0]


def names_in(repository: Path, seen: Seen) -> set[str]:
    """The models of a repository, whether they load or not, by its files: later ones are new to a process that has loaded these."""
    return {Path(file).relative_to(repository).parts[0] for file in seen}


def free_port() -> int:
    """A port that nobody listens on."""
    return chosen(Port(0, "--reload")).number


async def faults(tier: Tier) -> dict[str, str]:
    """What does not load in a process, as sentences by model."""
    try:
        report = await told_by(f"http://127.0.0.1:{tier.ops_port}", None)
    except (OSError, ValueError) as error:
        return {"process": f"it does not answer: {error}"}
    return {
        one.what: f"{one.what}: {one.seen}"
        for one in report.findings
        if one.level is Level.FAULT and one.what.startswith("model")
    }
