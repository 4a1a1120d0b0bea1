"""`Server-Timing` of a job's result (W3C Server Timing): how long the job waited and ran, beside what its run measured."""

from __future__ import annotations

from inferencehub.gateway.jobs.record import JobRecord

NAME = b"server-timing: "


def timed(lines: bytes, record: JobRecord) -> bytes:
    """Header lines of a result, as they were kept, with the times of its job: `queue` and `run`, in ms.

    `queue` is the time in the store since the job might run, and `run` that from there to its end. What the run measured
    stays, with its wait as `lane`, so that each name is there once; its total is `run`, and the answer has a total of its own.
    """
    if record.started is None or record.ended is None:
        return lines
    before, _, rest = lines.partition(NAME)
    measured, _, after = rest.partition(b"\r\n")
    queue = max(0.0, record.started - max(record.created, record.not_before))
    shown = [b"queue;dur=%.3f, run;dur=%.3f" % (queue * 1e3, (record.ended - record.started) * 1e3)]
    for part in measured.split(b", ") if measured else ():
        name, _, value = part.partition(b";")
        if name != b"total":
            shown.append((b"lane" if name == b"queue" else name) + b";" + value)
    return b"%b%b%b\r\n%b" % (before, NAME, b", ".join(shown), after)
