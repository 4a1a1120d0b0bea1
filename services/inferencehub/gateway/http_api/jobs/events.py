"""GET /v2/jobs/{id}/events: how a job goes, as server-sent events, until it has ended.

Each event `state` has the job as GET /v2/jobs/{id} has it, the last one that of its end. An event `attempt` comes before the
first answer of each attempt, for a later one begins its answers anew; `answer` has what an event of the call's own stream
would have; `progress` what the model has told. Ids name the attempt and the bytes of its stream, so a stream that goes on
behind a `Last-Event-ID` has no answer twice and leaves none out, at whatever gateway.

Nothing is kept for those who watch: they look at the job when something changes here, and else twice a second. One who
reads nothing is not written to. A stream ends with the process, or after some time, without a last state: callers come back.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import NamedTuple

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.process.tasks import until
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.http_api.call import HttpCall
from inferencehub.gateway.http_api.events import COMMENT, LINES
from inferencehub.gateway.http_api.jobs.job_json import job_json
from inferencehub.gateway.http_api.response import JSON, NO_SNIFFING, Content
from inferencehub.gateway.jobs.fronts.asking import Asking, owner_of
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.jobs.submit import LOOK_S, Jobs
from inferencehub.gateway.json_codec.answer_json import encode, error_json

EVENTS = "/v2/jobs/{id}/events"
PATH = re.compile(r"/v2/jobs/([^/]+)/events")
LAST_EVENT_ID = re.compile(rb"(\d{1,9})-(\d{1,15})(-end)?")
READ = 2**16  # bytes of answers that are read at a time
LONGEST_S = 900.0  # that a stream is open
RETRY = b"retry: 1000\n\n"  # ms after which callers come back


class Place(NamedTuple):
    """What a caller has: `at` bytes of the answers of an attempt, and whether the state of the job's end too."""

    attempt: int = 0
    at: int = 0
    end: bool = False

    @classmethod
    def read(cls, text: bytes) -> Place:
        """A place from a `Last-Event-ID`; the beginning for b"".

        Raises:
            HubError: BAD_INPUT if it is none of ours.
        """
        if not text:
            return cls()
        found = LAST_EVENT_ID.fullmatch(text)
        if found is None:
            shown = text[:40].decode("latin-1")
            raise bad_input(f"Last-Event-ID: expected the id of an event of this job, got '{shown}'")
        return cls(int(found[1]), int(found[2]), bool(found[3]))


class JobEvents:
    """The endpoint of one job.

    Args:
        jobs: the jobs.
        id: which.
        keep_alive_s: seconds of silence after which a comment is sent.
    """

    method = "GET"

    def __init__(self, jobs: Jobs, id: str, keep_alive_s: float) -> None:
        self.jobs = jobs
        self.id = id
        self.keep_alive_s = keep_alive_s

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.run(Watch(self, call, Place.read(call.head.fields.get(b"last-event-id", b""))).run())

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`; no model is called here."""
        return JSON, ()

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_json(error)


class Watch:
    """One stream of events.

    Args:
        endpoint: of which job.
        call: the caller.
        place: what the caller has already.
    """

    def __init__(self, endpoint: JobEvents, call: HttpCall, place: Place) -> None:
        self._endpoint = endpoint
        self._jobs = endpoint.jobs
        self._call = call
        self._owner = owner_of(call.exchange.caller)
        self._asking = Asking(endpoint.jobs, call.exchange.caller)
        self._place = place
        self._state: State | None = None  # that was told last
        self._progress: float | None = None
        self._read = asyncio.Event()  # the caller has read all
        self._written = self._asked = monotonic()
        limit_s = call.exchange.limit_s
        self._until = self._written + (LONGEST_S if limit_s is None else min(LONGEST_S, limit_s))

    async def run(self) -> None:
        """Tell what happens to the job, until it has ended.

        Raises:
            HubError: if there is nothing to tell from the beginning.
        """
        record = await self._asking.job(self._endpoint.id)
        call = self._call
        if record.state.ended and (self._place.attempt, self._place.end) == (record.attempts, True):
            call.send(204, NO_SNIFFING, ())  # so browsers do not come again
            return
        self._place = self._place._replace(end=False)
        call.start(200, LINES + NO_SNIFFING)
        call.reply.drained = self._read.set
        try:
            await self._write(RETRY)
            await self._watch(record)
        except HubError as error:
            call.reply.write(b"data: %b\n\n" % error_json(error))
            call.exchange.kind = error.kind.label
        call.finish(200)

    async def _watch(self, record: JobRecord) -> None:
        with self._jobs.watching(record.id) as changed:
            while not await self._tell(record) and self._goes_on():
                await until(changed, LOOK_S)
                changed.clear()
                if monotonic() - self._written >= self._endpoint.keep_alive_s:
                    await self._write(COMMENT)
                try:
                    record = await self._asking.job(record.id)
                except HubError as error:
                    if error.kind is not Kind.NOT_READY:  # the store may be back at the next look
                        raise

    async def _tell(self, record: JobRecord) -> bool:
        """Write what is new; whether that was the end."""
        if record.attempts != self._place.attempt:
            self._place, self._state, self._progress = Place(record.attempts), None, None
            await self._write(self._event(b"attempt", encode({"attempt": record.attempts})))
        if record.state is not self._state and not record.state.ended:
            self._state, self._progress = record.state, record.progress
            await self._write(self._event(b"state", job_json(record)))
        whole = await self._answers(record)
        if record.progress not in (None, self._progress):
            self._progress = record.progress
            await self._write(self._event(b"progress", encode({"progress": record.progress})))
        if not (whole and record.state.ended):
            return False
        self._place = self._place._replace(end=True)
        await self._write(self._event(b"state", job_json(record)))
        return True

    def _event(self, name: bytes, data: bytes) -> bytes:
        end = b"-end" if self._place.end else b""
        return b"event: %b\nid: %d-%d%b\ndata: %b\n\n" % (
            name,
            self._place.attempt,
            self._place.at,
            end,
            data,
        )

    async def _answers(self, record: JobRecord) -> bool:
        """Write the answers that the store has; False if it did not give all of them."""
        most = READ
        while (at := self._place.at) < record.told and self._goes_on():
            try:
                data = await self._jobs.store.told(self._owner, record.id, record.attempts, at, most)
            except HubError as error:
                if error.kind is not Kind.NOT_READY:
                    raise
                return False
            text, used = answers_of(data, record.attempts, at)
            if used:
                self._place, most = self._place._replace(at=at + used), READ
                await self._write(text)
            elif len(data) == most:  # a large answer
                most *= 2
            else:  # its rest has not come, or the attempt has gone meanwhile
                return False
        return self._place.at >= record.told

    def _goes_on(self) -> bool:
        """Whether the stream may go on.

        Raises:
            HubError: if the caller may not have it any more.
        """
        now = monotonic()
        if now - self._asked >= AGAIN_S:
            self._asked = now
            self._call.edge.again(self._call)
        return now < self._until and not self._jobs.ending

    async def _write(self, text: bytes) -> None:
        """Write, and wait until the caller has read it or the stream ends."""
        self._read.clear()
        if text and not self._call.reply.write(text):
            while not self._read.is_set() and self._goes_on():
                await until(self._read, LOOK_S)
        self._written = monotonic()


def answers_of(data: bytes, attempt: int, at: int) -> tuple[bytes, int]:
    """The events of a stream of answers as events of its job.

    Args:
        data: a part of the stream; its beginning is that of an event.
        attempt: the attempt that gave it.
        at: bytes of the stream before it.

    Returns:
        The events, and how many bytes of `data` were whole events.
    """
    events, used = [], 0
    while (end := data.find(b"\n\n", used)) >= 0:
        event, used = data[used:end], end + 2
        if event.startswith(b"data:"):  # the others are comments that kept a line open
            events.append(b"event: answer\nid: %d-%d\n%b\n\n" % (attempt, at + used, event))
    return b"".join(events), used
