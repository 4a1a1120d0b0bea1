"""`inferencehub key`: makes API keys, and shows what a file of them says."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.caller import Action
from inferencehub.core.auth.key_file import (
    USUAL,
    KeyEntry,
    check_entry,
    digest,
    new_key,
    read_keys,
    written_keys,
)
from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError

FILE = click.option(
    "--file", "-f", type=click.Path(path_type=Path, dir_okay=False), default=Path("keys.json"), show_default=True,
    help="The file of keys, which HUB_API_KEYS names.",
)  # fmt: skip


@click.group()
def key() -> None:
    """Make API keys, and look at a file of them.

    The file has a digest of each key and what its holder may do, not the keys themselves. HUB_API_KEYS names it.
    """


@key.command()
@click.argument("id")
@click.option("--tenant", default="", help="Whom the holder belongs to; it is in logs.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("*",),
    help="A pattern of names of models, such as v1-*; may be repeated.",
)
@click.option(
    "--action",
    "actions",
    multiple=True,
    type=click.Choice([action.value for action in Action]),
    default=[action.value for action in USUAL],
    help="What the holder may do; may be repeated.",
)
@click.option(
    "--not-after",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    help="When the key expires, in UTC.",
)
@click.option("--rate", type=click.FloatRange(1e-4, 1e6), help="Calls a second.")
@click.option("--burst", type=click.IntRange(1, 10**6), help="Calls that may begin at once after a pause.")
@click.option("--concurrency", type=click.IntRange(1, 10**6), help="Calls at a time.")
@click.option("--rows", type=click.FloatRange(1e-4, 1e6), help="Rows a second.")
@click.option(
    "--rows-burst", type=click.IntRange(1, 10**6), help="Rows that may begin at once after a pause."
)
@click.option("--body-bytes", type=click.IntRange(1, 2**40), help="Bytes of a request's body.")
@click.option(
    "--calls-per-day", type=click.IntRange(1, 10**12), help="Calls in a day of UTC; needs HUB_JOBS."
)
@click.option("--rows-per-day", type=click.IntRange(1, 10**12), help="Rows in a day of UTC; needs HUB_JOBS.")
@click.option(
    "--weight",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    help="Of the holder's calls in a queue, relative to those of others.",
)
@click.option(
    "--certificate",
    default="",
    help="A name in the holder's certificate, which is shown in place of a key; no key is made then.",
)
@FILE
def new(
    id: str,
    tenant: str,
    models: tuple[str, ...],
    actions: tuple[str, ...],
    not_after: datetime | None,
    rate: float | None,
    burst: int | None,
    concurrency: int | None,
    rows: float | None,
    rows_burst: int | None,
    body_bytes: int | None,
    calls_per_day: int | None,
    rows_per_day: int | None,
    weight: float,
    certificate: str,
    file: Path,
) -> None:
    """Make a key with this ID, add it to the file, and print it. It is shown only now."""
    made = "" if certificate else new_key(id)
    ends = None if not_after is None else not_after.replace(tzinfo=UTC)
    allowed = tuple(Action(action) for action in actions)
    sha256 = digest(made.encode()).hex() if made else ""
    entry = KeyEntry(
        id, sha256, certificate, tenant, models, allowed, ends, weight,
        rate=rate, burst=burst, concurrency=concurrency, rows=rows, rows_burst=rows_burst, body_bytes=body_bytes,
        calls_per_day=calls_per_day, rows_per_day=rows_per_day,
    )  # fmt: skip
    try:
        check_entry(entry)
        content = written_keys((*(read_keys(file.read_bytes()) if file.exists() else ()), entry))
        read_keys(content)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    replace(file, content)
    if certificate:
        click.echo(f"added '{id}' to {file}, who shows a certificate of '{certificate}'", err=True)
        return
    click.echo(f"added key '{id}' to {file}; the key itself is shown only now:", err=True)
    click.echo(made)


@key.command("list")
@FILE
def list_keys(file: Path) -> None:
    """Print the keys of the file: id, name in a certificate, tenant, models, actions, limits, and when they expire."""
    try:
        entries = read_keys(file.read_bytes())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    rows = [("ID", "CERTIFICATE", "TENANT", "MODELS", "ACTIONS", "LIMITS", "NOT AFTER")]
    for entry in entries:
        ends = "" if entry.not_after is None else entry.not_after.astimezone(UTC).isoformat()
        weight = None if entry.weight == 1 else entry.weight
        named = (
            ("rate", entry.rate),
            ("burst", entry.burst),
            ("concurrency", entry.concurrency),
            ("rows", entry.rows),
            ("rows_burst", entry.rows_burst),
            ("body_bytes", entry.body_bytes),
            ("calls_per_day", entry.calls_per_day),
            ("rows_per_day", entry.rows_per_day),
            ("weight", weight),
        )
        limits = ",".join(f"{name}={value:.15g}" for name, value in named if value is not None)
        rows.append(
            (
                entry.id,
                entry.certificate,
                entry.tenant,
                ",".join(entry.models),
                ",".join(entry.actions),
                limits,
                ends,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@key.command()
@FILE
def check(file: Path) -> None:
    """Read a key from standard input, and print whose it is; exit with 1 if it would be refused."""
    given = sys.stdin.readline().strip()
    try:
        caller = ApiKeys(str(file), "--file").caller(given.encode())
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    except HubError as error:
        raise click.ClickException(error.detail) from None
    click.echo(caller.id)


def replace(file: Path, content: bytes) -> None:
    """Write a file as a whole, so that nobody ever reads half of it. A new one is for its owner alone."""
    file = file.resolve()
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
        if file.exists():  # the service may be another user
            before = file.stat()
            os.fchmod(made.fileno(), before.st_mode & 0o777)
            with suppress(PermissionError):
                os.fchown(made.fileno(), before.st_uid, before.st_gid)
        made.write(content)
    new.replace(file)
