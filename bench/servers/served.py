"""Running peers: they are started one after another, and asked once in every format before anything is measured.

Only one peer runs at a time. The others are paused, because even an idle server uses CPU time and caches.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

from bench.load.checker import ask, asking
from bench.load.jobs import WALL, Job
from bench.load.questions import Question
from bench.paths import KEPT, REQUIREMENTS, ROOT
from bench.servers.environment import NotInstalled, python_of, versions
from bench.servers.peer import Peer, Site
from bench.servers.processes import Group, free_port

START_S = 120.0
LOOK_S = 0.01
SETTLE_S = 0.5  # what a peer that stood still is given
AWAKE = 5  # right answers in a row that it then owes


@dataclass(slots=True)
class Served:
    """A peer that serves: its ports and processes, seconds until it was ready, its versions, memory in MB at rest."""

    peer: Peer
    site: Site
    group: Group
    pin: bool = False
    start_s: float = 0.0
    memory_mb: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # forms that it does not take, and what it says
    tried: list[Question] = field(default_factory=list)  # those that it answered rightly

    def questions(self, job: Job) -> list[Question]:
        """What it is asked in a job; nothing where it does not take part."""
        if (self.peer.name == "echo" and job.name not in WALL) or job.form in self.refused:
            return []
        return self.peer.asks[job.form](job.model) if job.form in self.peer.asks else []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let it run within the block, which begins once it answers again; before and after, it stands still.

        One that has crashed since is started again: the run in which it did has counted its errors.

        Raises:
            NotServing: where it does not come back.
        """
        if self.group.ended():
            self._again()
        elif self.peer.can_stand:
            self.group.resume()
        try:
            sleep(SETTLE_S)
            if self.tried:
                until_awake(self.site.port, self.tried[0], self.group)
            yield
        finally:
            self.rest()

    def _again(self) -> None:
        print(f"{self.peer.name} had ended, and is started again", flush=True)
        self.group.stop()
        self.group = started(self.peer, self.site, self.pin)
        until_ready(self)

    def rest(self) -> None:
        """Stand still, while others are asked."""
        if self.peer.can_stand:
            self.group.pause()


class NotServing(Exception):
    """A peer that did not come up or gives wrong answers; the text says which."""


def started(peer: Peer, site: Site, pin: bool) -> Group:
    """Its processes."""
    return Group(peer.commands(site), ROOT, site.folder / "log", pin)


def begin(peer: Peer, jobs: Sequence[Job], pin: bool) -> Served:
    """Start a peer, wait until it is ready, and ask it once for each job.

    Raises:
        NotInstalled: where its environment cannot be made.
        NotServing: where it does not come up, or answers the rows wrongly.
    """
    if peer.absent:
        raise NotInstalled(peer.absent)
    site_python = (
        str(python_of(REQUIREMENTS / f"{peer.environment}.txt")) if peer.environment else sys.executable
    )
    site = Site(site_python, free_port(), free_port(), free_port(), KEPT / "run" / peer.name)
    site.folder.mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    group = started(peer, site, pin)
    served = Served(peer, site, group, pin)
    try:
        until_ready(served)
        served.start_s = perf_counter() - began
        try_all(served, jobs)
    except NotServing:
        group.stop()
        raise
    served.versions = versions(Path(site_python), peer.packages)
    served.memory_mb = group.memory_mb()
    return served


def until_ready(served: Served) -> None:
    """Wait until the peer's ready path answers 200."""
    ends = perf_counter() + START_S
    while perf_counter() < ends and not served.group.ended():
        connection = http.client.HTTPConnection("127.0.0.1", served.site.port, timeout=5)
        try:
            connection.request("GET", served.peer.ready)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        sleep(LOOK_S)
    log = served.group.log.read_text(errors="replace").strip().splitlines()
    raise NotServing(f"did not become ready: {' '.join(log[-3:])[-300:]}")


def until_awake(port: int, question: Question, group: Group) -> None:
    """Wait until processes that stood still give right answers; their timers have to find out first that all is well.

    Raises:
        NotServing: where that does not come.
    """
    ends, right = perf_counter() + START_S, 0
    with asking(port, [question]) as ask:
        while right < AWAKE:
            wrong = ask()
            right = 0 if wrong else right + 1
            if wrong and (perf_counter() > ends or group.ended()):
                raise NotServing(f"did not come back: {wrong}")
            sleep(LOOK_S)


def try_all(served: Served, jobs: Sequence[Job]) -> None:
    """Ask each kind of question once; a form that is refused is left out, and it is written down why."""
    for model, form in dict.fromkeys((job.model, job.form) for job in jobs if served.questions(job)):
        connection = http.client.HTTPConnection("127.0.0.1", served.site.port, timeout=30)
        for question in served.peer.asks[form](model):
            if wrong := ask(connection, question):
                if form == "row":
                    raise NotServing(f"{model}: {wrong}")
                served.refused[form] = wrong
                break
            served.tried.append(question)
        connection.close()


@contextmanager
def serving(
    peers: Sequence[Peer],
    jobs: Sequence[Job],
    pin: bool,
    absent: dict[str, str],
    say: Callable[[str], None],
) -> Iterator[list[Served]]:
    """All peers that can be had, each standing still; the others go into `absent` with the reason."""
    running: list[Served] = []
    try:
        for peer in peers:
            say(f"starting {peer.name}")
            try:
                running.append(begin(peer, jobs, pin))
                running[-1].rest()
            except (NotInstalled, NotServing) as error:
                absent[peer.name] = str(error)
        yield running
    finally:
        for served in running:
            served.group.stop()
