"""`inferencehub score`: the options, the progress, and the exit code."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import click

from inferencehub.cli.client import (
    FILE,
    Caller,
    Client,
    Refused,
    Unreachable,
    caller,
    caller_options,
    model_path,
)
from inferencehub.cli.score.part import AllFailed, OtherRun, Part
from inferencehub.cli.score.sender import Sender
from inferencehub.cli.score.tables import KINDS, BadTable, Row, count_rows, read_rows
from inferencehub.cli.score.tensors import BadRow, fill

SOME_FAILED, COULD_NOT = 1, 2
SAVE_S = 1.0  # what a kill -9 costs, at most, beside the calls that run
TELL_S = 10.0  # between two lines of progress where there is no terminal


@click.command(context_settings={"show_default": True})
@click.argument("model")
@click.argument("table", metavar="IN", type=FILE)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
@click.option(
    "--version",
    default="",
    help="Of the model, or an alias, which stands for one version to the end; without it the one that gets most calls, else "
    "the newest.",
)
@click.option(
    "--columns", default="", show_default=False,
    help="Columns that are the row of the only input, in order, with commas; all without it.",
)  # fmt: skip
@click.option(
    "--keep", default="", show_default=False, help="Columns that are copied to the output, with commas."
)
@click.option(
    "--rows",
    type=click.IntRange(1, 10_000),
    default=64,
    help="Rows of a call, at most; as many as the model batches.",
)
@click.option("--concurrency", type=click.IntRange(1, 1000), default=4, help="Calls that run at a time.")
@caller_options
@click.pass_obj
def score(
    environ: Mapping[str, str], model: str, table: Path, out: Path, version: str, columns: str, keep: str, rows: int,
    concurrency: int, url: str, key_file: Path | None, ca: Path | None,
) -> None:  # fmt: skip
    """Send the rows of IN to MODEL, and write its answers.

    IN and OUT are .csv, .jsonl or .parquet. Columns that are called like the model's inputs fill them; otherwise all columns, or
    those of --columns, are the row of the only input. OUT has a row for each, with the model's outputs, or with `error`.

    It goes behind the calls of others where the gateway has jobs, and waits as long as a 429 says.

    To go on after a stop, also after kill -9, run the same command again: what is done is in OUT.part and OUT.part.state, and OUT
    is there when all is done. Delete these two to begin anew.

    Exits with 0 if all rows have an answer, 1 if some have an error, and 2 if it was stopped or could not be done.
    """
    for path in (table, out):
        if path.suffix not in KINDS:
            raise click.UsageError(f"'{path}' ends in '{path.suffix}', expected one of {', '.join(KINDS)}")
    if not out.parent.is_dir():
        raise click.UsageError(f"there is no directory '{out.parent}' for '{out.name}'")
    if out.exists() and out.samefile(table):
        raise click.UsageError(f"'{out}' is the file that is read, expected another one")
    who, chosen, kept = caller(environ, url, key_file, ca), split(columns), split(keep)
    stat = table.stat()
    run = {
        "in": str(table.resolve()), "size": stat.st_size, "changed": stat.st_mtime_ns,
        "model": model, "version": version, "columns": chosen, "keep": kept,
    }  # fmt: skip
    try:
        with Part(out, run) as part:
            asyncio.run(scored(who, model, version, table, part, chosen, kept, rows, concurrency))
            part.finish()
            failed, column = part.failed, part.error
    except asyncio.CancelledError:
        fail("stopped; the same command goes on from here")
    except (Refused, Unreachable, BadTable, BadRow, AllFailed, OtherRun, OSError) as error:
        fail(str(error))
    if failed:
        click.echo(f"inferencehub: {failed} rows have an error; see the column '{column}' of {out}", err=True)
        sys.exit(SOME_FAILED)


def split(names: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in names.split(",") if name.strip()]


def fail(sentence: str) -> NoReturn:
    """End: it could not be done."""
    click.echo(f"inferencehub: {sentence}", err=True)
    sys.exit(COULD_NOT)


async def scored(
    who: Caller,
    name: str,
    version: str,
    table: Path,
    part: Part,
    columns: list[str],
    keep: list[str],
    rows: int,
    calls: int,
) -> None:
    """Score what is left of a table.

    Raises:
        Refused, Unreachable: see `Sender.answers`.
        BadTable, BadRow: if the table can't be read, or does not fit the model.
        AllFailed: see `Part.add`.
        CancelledError: after Ctrl-C.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    total = await asyncio.to_thread(count_rows, table)
    rest = read_rows(table, part.done)
    first = list(islice(rest, 1))
    if part.done and not first:
        return
    async with Client(who) as client:
        version = part.version or await pinned(client, name, version)
        model = (await client.ask("GET", model_path(name, version))).json()
        part.version = version = version or newest(model.get("versions", []))
        part.error = error_column(model)
        part.columns = [*keep, *(one["name"] for one in model["outputs"])]
        if not first:
            return
        path = model_path(name, version)
        config = (await client.ask("GET", f"{path}/config")).json()
        free = {name: value for name, value in first[0].items() if name not in keep or name in columns}
        sender = Sender(client, path, fill(model, config, free, columns), rows, calls, part.error)
        check_kept(keep, first[0], model, part.error)
        await warn_without_jobs(client)
        bar: Any
        with click.progressbar(
            length=total, label=f"{name} {version}".rstrip(), file=sys.stderr, show_pos=True,
            item_show_func=lambda _: f"{part.failed} with an error" if part.failed else None,
        ) as bar:  # fmt: skip
            bar.update(part.done)
            saved = told = monotonic()
            try:
                async for some in sender.answers(chain(first, rest)):
                    part.add([{**{name: row.get(name) for name in keep}, **answer} for row, answer in some])
                    bar.update(len(some))
                    if monotonic() - saved > SAVE_S:
                        await asyncio.to_thread(part.save)
                        saved = monotonic()
                    if monotonic() - told > TELL_S and not sys.stderr.isatty():
                        click.echo(f"{part.done} of {total} rows, {part.failed} with an error", err=True)
                        told = monotonic()
            finally:
                part.save()


async def pinned(client: Client, name: str, version: str) -> str:
    """The version for a whole run, by the gateway's file of traffic, which may change while it lasts.

    Args:
        client, name: whom to ask, for which model.
        version: as the user gave it: a version, an alias of one, or "" for the one that gets most of the calls that name none.

    Returns:
        The version; `version` as it is if the file does not say more.

    Raises:
        Refused, Unreachable: see `Client.ask`.
    """
    try:
        split = (await client.ask("GET", f"{model_path(name)}/traffic")).json()
    except Refused as error:
        if error.status not in (403, 404, 501):
            raise
        return version  # no file, or another server; why it refuses a caller, it says for the model
    if version:
        meant = [one["version"] for one in split["versions"] if version in one["aliases"]]
        return str(meant[0]) if meant else version
    most = max(split["versions"], key=itemgetter("share"), default={"version": "", "share": 0})
    return str(most["version"]) if most["share"] else ""


async def warn_without_jobs(client: Client) -> None:
    """Say that the calls of this run don't go behind those of others, where the gateway has no jobs.

    Raises:
        Unreachable: see `Client.ask`.
    """
    try:
        await client.ask("GET", "/v2/jobs?limit=1")
    except Refused as error:
        if error.status in (404, 501):  # what else it refuses, it says for the model
            click.echo(
                "inferencehub: the gateway has no jobs, so these calls compete with those of others; its setting HUB_JOBS "
                "turns jobs on",
                err=True,
            )


def newest(versions: list[str]) -> str:
    """The newest of a model's versions, which stays that of the run if a newer one comes; "" if they are none of numbers."""
    return max(versions, key=int) if versions and all(map(str.isdecimal, versions)) else ""


def error_column(model: Mapping[str, Any]) -> str:
    """The column for what is wrong with a row: `error`, unless that is an output of the model."""
    return "error" if all(one["name"] != "error" for one in model["outputs"]) else "score_error"


def check_kept(keep: list[str], row: Row, model: Mapping[str, Any], error: str) -> None:
    """Refuse columns to keep that are not there, or that are called like an output.

    Raises:
        BadRow: names the first one.
    """
    outputs = {one["name"] for one in model["outputs"]} | {error}
    for name in keep:
        if name not in row:
            raise BadRow(f"there is no column '{name}' to keep, expected of: {', '.join(map(repr, row))}")
        if name in outputs:
            raise BadRow(f"the column '{name}' can't be kept: an output of the model has this name")
