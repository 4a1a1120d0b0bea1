"""What can be looked at where the process itself does not answer: the files that its settings name, and ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inferencehub.core.files.watched import BadFile, WatchedFiles
from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.network import Reach, addresses_of, reach, why_no_address
from inferencehub.core.process.doctor.process import of_files
from inferencehub.core.process.settings import SettingError

Read = Callable[[], object | None]


def of_named_files(reads: Mapping[str, Read]) -> list[Finding]:
    """Files that a start would read.

    Args:
        reads: by what they are for; each reads its files and raises `BadFile` or `SettingError` if the start would end there.
    """
    found = []
    for what, read in reads.items():
        try:
            one = read()
        except (BadFile, SettingError) as error:
            fix = "Repair it: the process ends at its start with this sentence."
            found.append(fault(what, str(error), fix))
        else:
            if isinstance(one, WatchedFiles):
                found += of_files([one])
            elif one is not None:
                found.append(ok(what, "it can be used"))
    return found


async def of_target(what: str, target: str) -> Finding:
    """Whether host:port can be reached from here.

    Args:
        what: the setting that names it.
        target: host:port.
    """
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    try:
        await addresses_of(host)
    except (OSError, UnicodeError) as error:
        seen, fix = why_no_address(error) if isinstance(error, OSError) else ("it is no name of a host", "")
        return fault(what, f"'{host}' has no address: {seen}", fix)
    came = await reach(host, int(port))
    if came is Reach.OPEN:
        return ok(what, f"{target}: {came.value}")
    return warning(what, f"{target}: {came.value}", "Look whether it runs, and at the network policies.")


async def of_own_port(what: str, port: int) -> list[Finding]:
    """Whether another process has a port that this one would listen at."""
    if port and await reach("127.0.0.1", port) is Reach.OPEN:
        seen = f"something listens at port {port} already, and it is not this process's ops port"
        return [
            warning(what, seen, "If a start ends with 'address in use', end that process, or move this one.")
        ]
    return []
