"""The peers while they run: started one after another, asked once in every form before anything is measured."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

from bench.checker import ask
from bench.environment import NotInstalled, python_of, versions
from bench.jobs import WALL, Job
from bench.peer import Peer, Site
from bench.place import KEPT, ROOT
from bench.processes import Group, free_port
from bench.questions import Question

START_S = 120.0
LOOK_S = 0.01


@dataclass(slots=True)
class Served:
    """A peer that serves: its ports and processes, seconds until it was ready, its versions, memory in MB at rest."""

    peer: Peer
    site: Site
    group: Group
    start_s: float = 0.0
    memory_mb: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # forms that it does not take, and what it says

    def questions(self, job: Job) -> list[Question]:
        """What it is asked in a job; nothing where it does not take part."""
        if (self.peer.name == "echo" and job.name not in WALL) or job.form in self.refused:
            return []
        return self.peer.asks[job.form](job.model) if job.form in self.peer.asks else []


class NotServing(Exception):
    """A peer that did not come up or gives wrong answers; the text says which."""


def begin(peer: Peer, jobs: Sequence[Job], pin: bool) -> Served:
    """Start a peer, wait until it is ready, and ask it once for each job.

    Raises:
        NotInstalled: where its environment cannot be made.
        NotServing: where it does not come up, or answers the rows wrongly.
    """
    if peer.absent:
        raise NotInstalled(peer.absent)
    site_python = str(python_of(peer.environment)) if peer.environment else sys.executable
    site = Site(site_python, free_port(), free_port(), KEPT / "run" / peer.name)
    site.folder.mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    group = Group(peer.commands(site), ROOT, site.folder / "log", pin)
    served = Served(peer, site, group)
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
        connection.close()


@contextmanager
def serving(
    peers: Sequence[Peer],
    jobs: Sequence[Job],
    pin: bool,
    absent: dict[str, str],
    say: Callable[[str], None],
) -> Iterator[list[Served]]:
    """All peers that can be had; the others go into `absent` with the reason."""
    running: list[Served] = []
    try:
        for peer in peers:
            say(f"starting {peer.name}")
            try:
                running.append(begin(peer, jobs, pin))
            except (NotInstalled, NotServing) as error:
                absent[peer.name] = str(error)
        yield running
    finally:
        for served in running:
            served.group.stop()
