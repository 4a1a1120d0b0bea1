"""What any process can look at: the files that it reads again, its certificates, its clock, and the limits that it runs under."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from time import time

from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.metrics import Reloaded
from inferencehub.core.process.resources.container import Container, Readings
from inferencehub.core.tls.certificate import Certificate

DAY_S = 86_400.0
SOON_S = 14 * DAY_S  # as the alert InferenceHubCertificateEnds has it
ROOM = 0.9  # the part of a limit that may be used
SPARE_BYTES = 80 * 2**20  # that a process takes before it holds any request
LATE_S, WRONG_S = 3.0, 30.0  # by which clocks may differ: Date has whole seconds, tokens have 30 s of leeway
LOOK_S = 2.0  # for which the limit of CPU is looked at
PERIOD_S = 0.1  # of that limit, as Kubernetes sets it
THROTTLED = 0.25  # the part of the periods in which it may hold a process up


def of_files(sources: Iterable[Reloaded]) -> list[Finding]:
    """Files and keys that changed and can't be used, and certificates by their dates."""
    found = []
    for one in sources:
        if one.refused:
            why = one.reason or "what it holds is not used"
            fix = "Repair it. Until then the last good contents stay in use; the change is taken within seconds, without a restart."
            found.append(fault(one.setting, why, fix))
        if isinstance(one, Certificate) and one.ends is not None:
            found.append(of_end(one.setting, one.ends))
        elif not one.refused:
            found.append(ok(one.setting, "its contents are in use"))
    return found


def of_end(what: str, ends: float) -> Finding:
    """A certificate by its end, in Unix time; the first of a chain that ends counts."""
    left_s = ends - time()
    fix = "Renew it: put the new files in the same place (or into the same Secret), and they are taken without a restart."
    if left_s <= 0:
        return fault(what, f"its certificate has ended {lasting(-left_s)} ago", fix)
    if left_s < SOON_S:
        return warning(what, f"its certificate ends in {lasting(left_s)}", fix)
    return ok(what, f"its certificate ends in {lasting(left_s)}")


def lasting(seconds: float) -> str:
    """A time in the unit that fits."""
    for unit, size in (("day", DAY_S), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= size:
            count = int(seconds / size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds:.0f} s"


def of_clock(who: str, date: float | None) -> Finding | None:
    """How another clock differs from this one; None if it does not say.

    Args:
        who: whose clock.
        date: what it shows now, in Unix time.
    """
    if date is None:
        return None
    apart_s = date - time()
    if abs(apart_s) <= LATE_S:
        return ok("clock", f"that of {who} is the same")
    seen = f"that of {who} is {lasting(abs(apart_s))} {'ahead of' if apart_s > 0 else 'behind'} this one"
    fix = "Look at the time service of both nodes (timedatectl, chronyc tracking)."
    return fault("clock", seen, fix) if abs(apart_s) > WRONG_S else warning("clock", seen, fix)


async def of_limits(
    queue_bytes: int = 0, files: int = 0, container: Container | None = None, look_s: float = LOOK_S
) -> list[Finding]:
    """Memory, CPU and open files against what this process may need.

    Args:
        queue_bytes: that it may hold for requests; 0 for a process that holds none.
        files: that it may have open.
        container: whose limits count; None for that of this process.
        look_s: seconds between two looks at the CPU.
    """
    container = container or Container()
    before = await asyncio.to_thread(container.read)  # files of the kernel, one of which may be long
    if before.periods:
        await asyncio.sleep(look_s)
    now = await asyncio.to_thread(container.read)
    return [
        *of_memory(now.memory, now.memory_limit, queue_bytes),
        *of_cpu(before, now, look_s),
        await asyncio.to_thread(of_open_files, files),
    ]


def of_memory(used: float | None, limit: float | None, queue_bytes: int) -> list[Finding]:
    """The limit of memory against what is used, and against what requests may take."""
    if used is None or limit is None:
        return [ok("memory", "the container has no limit that can be seen")]
    shown = f"{mib(used)} of {mib(limit)} are used"
    if queue_bytes and limit < queue_bytes + SPARE_BYTES:
        seen = f"the limit is {mib(limit)}, and HUB_QUEUE_BYTES alone lets requests take {mib(queue_bytes)}"
        fix = (
            f"Raise the limit to {mib(queue_bytes + 2 * SPARE_BYTES)} or more, or lower HUB_QUEUE_BYTES: else the kernel kills "
            "the process (OOMKilled) where it should answer 429."
        )
        return [fault("memory", f"{seen}; {shown}", fix)]
    if used > ROOM * limit:
        return [warning("memory", shown, "Raise the limit before the kernel kills the process (OOMKilled).")]
    return [ok("memory", shown)]


def of_cpu(before: Readings, now: Readings, look_s: float) -> list[Finding]:
    """How often the limit of CPU holds the container up.

    Its numbers since it began say little: many processes start at their limit, and some ran freely for days before.

    Args:
        before, now: two looks.
        look_s: seconds between them.
    """
    if not before.periods or now.periods is None or before.held_up is None or now.held_up is None:
        return []
    # Periods in which nothing wants to run do not count as such.
    periods = max(now.periods - before.periods, look_s / PERIOD_S)
    held_up = (now.held_up - before.held_up) / periods
    seen = f"in the last {look_s:g} s its limit has held the container up in {held_up:.0%} of the periods"
    if held_up > THROTTLED:
        return [warning("CPU", seen, "Raise the limit of CPU, or take it away and keep the request.")]
    return [ok("CPU", seen)]


def of_open_files(files: int) -> Finding:
    """The limit of open files against what is open, and what may be."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    fix = "Raise the limit of open files of the container's runtime (LimitNOFILE, ulimits), or lower HUB_MAX_CONNECTIONS."
    if limit == resource.RLIM_INFINITY:
        return ok("open files", "there is no limit")
    if files > limit:
        return warning("open files", f"the limit is {limit}, and {files} may be wanted", fix)
    open_now = opened()
    if open_now is not None and open_now > ROOM * limit:
        return warning("open files", f"{open_now} of {limit} are open", fix)
    return ok(
        "open files", f"the limit is {limit}" if open_now is None else f"{open_now} of {limit} are open"
    )


def opened() -> int | None:
    """The files that this process has open; None where the system does not say."""
    try:
        return len(os.listdir(Path("/proc/self/fd")))
    except OSError:
        return None


def mib(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:,.0f} MiB"
