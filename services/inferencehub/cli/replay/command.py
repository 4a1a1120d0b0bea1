"""`inferencehub replay`: the options, the progress, and the exit code."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from inferencehub.cli.replay.recording import BadRecording, Recording

if TYPE_CHECKING:
    from inferencehub.cli.replay.report import Report
    from inferencehub.cli.replay.sender import Sender

FILE = click.Path(path_type=Path, exists=True)
DIFFERENT, COULD_NOT = 1, 2
IGNORED = ("id", "created")
TELL_S = {True: 1.0, False: 10.0}  # between two lines of progress, on a terminal and elsewhere


@click.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--to", "url", required=True, metavar="URL", help="The gateway, such as http://localhost:3000.")
@click.option(
    "--speed", type=click.FloatRange(0.001, 10_000), default=1.0, help="How much faster than recorded."
)
@click.option(
    "--as-fast-as-possible", "at_once", is_flag=True, help="Send the next call when one is answered."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=64, help="Calls that may run at a time."
)
@click.option(
    "--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with an API key or a token, which is sent as a bearer.",
)  # fmt: skip
@click.option(
    "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Authorities that sign the gateway's certificate, as PEM; those of the system without it.",
)  # fmt: skip
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=1e-6,
    help="How far two numbers with fractions may be apart, relative to the larger one, or to 1.",
)  # fmt: skip
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    default=IGNORED,
    help="A JSON field that may differ; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), help="Send only so many calls, the first ones.")
@click.option("--show", type=click.IntRange(0, 10_000), default=10, help="Calls whose differences are shown.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def replay(
    files: tuple[Path, ...],
    url: str,
    speed: float,
    at_once: bool,
    concurrency: int,
    key_file: Path | None,
    ca: Path | None,
    tolerance: float,
    ignored: tuple[str, ...],
    limit: int | None,
    show: int,
    as_json: bool,
) -> None:
    """Send recorded calls again, and compare answers and times.

    FILE is a recording that a gateway has made with HUB_RECORD, or a folder of them. Calls keep their distances in time, also
    where answers come late.

    Exits with 0 if all answers are the same, 1 if some differ or did not come, and 2 if it could not be
    done or was interrupted.
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--to is '{url}', expected http://host:port or https://host:port")
    try:
        from inferencehub.cli.replay.report import Report
        from inferencehub.cli.replay.sender import NoAnswers, Sender
    except ModuleNotFoundError as error:
        fail(f"{error.name} is missing, which comes with: pip install 'inferencehub[gateway]'")
    report, whole = Report(tolerance, frozenset(ignored), show), True
    try:
        recording = Recording(files, limit)
        tls: ssl.SSLContext | bool = True if ca is None else ssl.create_default_context(cafile=str(ca))
        credential = "" if key_file is None else key_file.read_text().strip()
        sender = Sender(url, tls, credential, None if at_once else speed, concurrency, report.got)
        asyncio.run(told(sender, recording, report, None if at_once else speed))
    except NoAnswers as error:
        fail(f"{url} does not answer: {error}")
    except (BadRecording, OSError, UnicodeDecodeError) as error:
        fail(str(error))
    except asyncio.CancelledError:
        whole = False
        click.echo("inferencehub: interrupted; this is what came so far", err=True)
    click.echo(msgspec.json.encode(report.facts()) if as_json else "\n".join(report.lines()))
    if not whole or report.unanswered == report.calls:
        sys.exit(COULD_NOT)
    sys.exit(0 if report.same else DIFFERENT)


def fail(sentence: str) -> NoReturn:
    """End: it could not be done."""
    click.echo(f"inferencehub: {sentence}", err=True)
    sys.exit(COULD_NOT)


async def told(sender: Sender, recording: Recording, report: Report, speed: float | None) -> None:
    """Send all calls, and say now and then how far it is.

    Raises:
        NoAnswers, BadRecording: see `Sender.run`.
        CancelledError: after Ctrl-C.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    count = len(recording)
    planned = "as fast as they are answered" if speed is None else f"in {recording.seconds / speed:.1f} s"
    click.echo(f"{count} calls, {planned}", err=True)
    telling = asyncio.create_task(tell(count, report))
    try:
        await sender.run(recording)
    finally:
        telling.cancel()
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


async def tell(count: int, report: Report) -> None:
    """Say how far it is, until it is cancelled."""
    started, terminal = monotonic(), sys.stderr.isatty()
    while True:
        await asyncio.sleep(TELL_S[terminal])
        text = (
            f"{report.calls} of {count} calls in {monotonic() - started:.0f} s, {report.differ} differ, "
            f"{report.unanswered} without an answer"
        )
        click.echo(f"\r\x1b[K{text}" if terminal else text, nl=not terminal, err=True)
