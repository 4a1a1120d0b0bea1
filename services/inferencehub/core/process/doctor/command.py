"""`doctor` as a command: asks a process of this machine what it has found, and prints it.

Where the process does not answer, because its start failed or it hangs, the settings and the files that they name are looked
at here, and whether what they point at can be reached.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from inferencehub import __version__
from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.doctor.ask import ask
from inferencehub.core.process.doctor.doctor import Check, Doctor
from inferencehub.core.process.doctor.finding import Finding, Level, Report, as_text, fault, report_of
from inferencehub.core.process.doctor.process import of_files
from inferencehub.core.process.settings import ProcessSettings, SettingError, read_settings

ANSWER_S = 15.0  # longer than any check
USAGE = "doctor [--url http(s)://host:port of an ops port] [--json]"


class Tier(NamedTuple):
    """A process that can be asked, and what is looked at if it does not answer.

    Args:
        name: of the tier.
        settings: the class of its settings.
        absent: makes the checks for settings whose process does not answer.
    """

    name: str
    settings: type[ProcessSettings]
    absent: Callable[[ProcessSettings], Mapping[str, Check]]


def main(tier: Tier, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command of a tier.

    Args:
        tier: which.
        arguments: of the command.
        environ: the environment of the process that is asked, which is that of its container.

    Returns:
        0 if there is no fault, 1 if there is one, 2 if the command line is wrong.
    """
    rest = [one for one in arguments if one != "--json"]
    url = ""
    if rest[:1] == ["--url"] and len(rest) == 2:
        url = rest[1]
    elif rest:
        sys.stderr.write(f"inferencehub: expected {USAGE}\n")
        return 2
    report = asyncio.run(report_on(tier, environ, url))
    return show([report], as_json="--json" in arguments)


def show(reports: Sequence[Report], as_json: bool) -> int:
    """Print reports; 1 if there is a fault, else 0."""
    if as_json:
        sys.stdout.write("".join(f"{msgspec.json.encode(one).decode()}\n" for one in reports))
    else:
        sys.stdout.write("\n".join(map(as_text, reports)))
    return int(any(one.verdict is Level.FAULT for one in reports))


async def report_on(tier: Tier, environ: Mapping[str, str], url: str = "") -> Report:
    """What a process has found; what is found here if it does not answer."""
    try:
        settings = read_settings(tier.settings, environ)
    except SettingError as error:
        if not url:
            fix = "Correct it: the process ends at its start with this sentence."
            return found_here(tier.name, [fault("settings", str(error), fix)])
        settings = tier.settings()
    try:
        certificate = settings.ops_certificate()
    except BadFile as error:
        return found_here(tier.name, [fault("HUB_OPS_TLS", str(error), "Repair the file.")])
    tls = None if certificate is None else certificate.asking
    where = url or f"{'http' if tls is None else 'https'}://127.0.0.1:{settings.ops_port}"
    try:
        return await told_by(where, tls)
    except (OSError, ValueError) as error:
        silent = fault("process", f"{where} does not answer: {why(error)}", not_there(environ))
        checks = {} if url else tier.absent(settings)
        looked = await Doctor(tier.name, checks).report()
        own = of_files([] if certificate is None else [certificate])
        return found_here(tier.name, [silent, *own, *looked.findings])


def not_there(environ: Mapping[str, str]) -> str:
    """What to do where the process of this environment does not answer."""
    fix = (
        "Its log says why it does not start (kubectl logs, with --previous if it has ended), or it hangs."
        if "KUBERNETES_SERVICE_HOST" in environ  # each pod has it
        else "On a laptop, `make run` or `inferencehub run DIR` starts the gateway and the inference service, and says in the "
        "terminal why one does not start; or it hangs."
    )
    return f"{fix} What follows was looked at from here, by the settings of this environment."


async def told_by(url: str, tls: ssl.SSLContext | None) -> Report:
    """What a process has found.

    Raises:
        OSError: if it does not answer.
        ValueError: if the answer is no report.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'{url}' is no address, expected http://host:port")
    if parts.scheme == "https" and tls is None:
        raise ValueError("it speaks TLS, and HUB_OPS_TLS_CERT names no certificate to show there")
    port = parts.port or 9090
    told = await ask(parts.hostname, port, "/doctor", tls if parts.scheme == "https" else None, ANSWER_S)
    if told.status != 200:
        raise ValueError(
            f"it answers with status {told.status}: {told.body[:200].decode('utf-8', 'replace')}"
        )
    try:
        return msgspec.json.decode(told.body, type=Report)
    except msgspec.DecodeError:
        raise ValueError(
            "its answer is none of a doctor: is that the ops port, and of this version?"
        ) from None


def why(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return f"it takes more than {ANSWER_S:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return str(error)


def found_here(tier: str, findings: Sequence[Finding]) -> Report:
    """A report that this process makes itself."""
    return report_of(tier, __version__, time(), findings)
