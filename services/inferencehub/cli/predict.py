"""`inferencehub predict`: sends what a file holds to a model behind a gateway, and prints the answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import click

from inferencehub.cli.client import (
    Answer,
    Caller,
    Client,
    Refused,
    Unreachable,
    caller,
    caller_options,
    model_path,
)

REFUSED, COULD_NOT = 1, 2
CHAT = "openai-chat"  # the `api` of a model of chats
LONGEST = 200  # characters of an output that is shown
BINARY = "inference-header-content-length"


class Sent(NamedTuple):
    """A request: the last part of its path, its body, and its headers."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class BadFile(Exception):
    """The file can't be sent to the model. The text says why."""


@click.command()
@click.argument("model")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--version",
    default="",
    help="Of the model, or an alias; without it the gateway chooses, by the weights of its traffic, else the newest that serves.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Send the file as it is, as the one element of a BYTES input, also if it is JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's JSON.")
@caller_options
@click.pass_obj
def predict(
    environ: Mapping[str, str], model: str, file: BinaryIO, version: str, raw: bool, as_json: bool, url: str,
    key_file: Path | None, ca: Path | None,
) -> None:  # fmt: skip
    """Send FILE to MODEL, and print the answer.

    FILE (- for standard input) is one of these: a request of /v2/models/MODEL/infer; a JSON object with the inputs by name; a
    JSON array for the only input; or, for a model whose only input is BYTES, anything else as it is, such as a text or a picture.

    Exits with 0 if there is an answer, 1 if the gateway refuses, and 2 if it could not be asked.
    """
    who = caller(environ, url, key_file, ca)
    try:
        answer = asyncio.run(asked(who, model_path(model, version), file.read(), raw))
    except Refused as error:
        fail(str(error), REFUSED)
    except (Unreachable, BadFile) as error:
        fail(str(error), COULD_NOT)
    parts = parts_of(answer)
    lines = (
        [answer.body.decode().rstrip("\n")]
        if as_json
        else [line for one in parts for line in outputs_of(one)]
    )
    click.echo("\n".join(lines))
    if parts and parts[-1].keys() == {
        "error"
    }:  # after the first of several answers, an error is the last event
        fail(parts[-1]["error"], REFUSED)


def fail(sentence: str, code: int) -> NoReturn:
    """End with a sentence."""
    click.echo(f"inferencehub: {sentence}", err=True)
    sys.exit(code)


async def asked(who: Caller, path: str, content: bytes, raw: bool) -> Answer:
    """The answer of a model to a file.

    Raises:
        Refused, Unreachable: see `Client.ask`.
        BadFile: if the model has no input for it.
    """
    async with Client(who) as client:
        model = (await client.ask("GET", path)).json()
        try:
            config = (await client.ask("GET", f"{path}/config")).json()
        except Refused as error:
            if error.status not in (404, 501):
                raise
            config = {}  # other servers may have none
        optional = {one["name"] for one in config.get("input", []) if one.get("optional")}
        several = config.get("model_transaction_policy", {}).get("decoupled", False)
        inputs = [one for one in model["inputs"] if one["name"] not in optional]
        if not raw and config.get("parameters", {}).get("api", {}).get("string_value") == CHAT:
            content = chat_of(content)
        sent = request_of(content, inputs or model["inputs"], raw, several)
        return await client.ask("POST", f"{path}/{sent.path}", sent.body, sent.headers)


def chat_of(content: bytes) -> bytes:
    """A file for a model of chats: its messages, which are JSON in an element, may be a list, or the text of the user.

    Raises:
        BadFile: if it is neither JSON nor text.
    """
    try:
        given = json.loads(content)
    except UnicodeDecodeError:
        raise BadFile("the file is no UTF-8, expected the messages of a chat, or the text of one") from None
    except ValueError:
        given = [{"role": "user", "content": content.decode()}]
    if isinstance(given, list):
        given = {"messages": given}
    if not isinstance(given, dict):
        return content
    as_text = {
        name: json.dumps(given[name])
        for name in ("messages", "parameters")
        if isinstance(given.get(name), dict) or is_messages(given.get(name))
    }
    return json.dumps({**given, **as_text}).encode()


def is_messages(value: Any) -> bool:
    """Whether a value is a list of objects, as the messages of a chat are."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def request_of(content: bytes, inputs: Sequence[Mapping[str, Any]], raw: bool, several: bool) -> Sent:
    """The request that a file is.

    Args:
        content: the file.
        inputs: those that the model needs, as its metadata has them.
        raw: whether it is an element, whatever it looks like.
        several: whether the model gives any number of answers.

    Raises:
        BadFile: if it is no JSON and the model has another input than one of BYTES.
    """
    by_name = "generate_stream" if several else "generate"
    try:
        given = None if raw else json.loads(content)
    except ValueError:
        given = None
    if isinstance(given, dict):
        return Sent("infer" if isinstance(given.get("inputs"), list) else by_name, content, {})
    names = ", ".join(f"'{one['name']}' {one['datatype']} {one['shape']}" for one in inputs)
    if len(inputs) != 1:
        raise BadFile(f"the file is no JSON object, expected one with the inputs by name: {names}")
    [one] = inputs
    if isinstance(given, list):
        return Sent(by_name, json.dumps({one["name"]: given}).encode(), {})
    shape = [1 if size < 0 else size for size in one["shape"]]
    if one["datatype"] != "BYTES" or prod(shape) != 1:
        raise BadFile(
            f"the file is no JSON array or object, and the model takes {names}, not one element of BYTES"
        )
    if several:
        try:
            return Sent(by_name, json.dumps({one["name"]: content.decode()}).encode(), {})
        except UnicodeDecodeError:
            raise BadFile("the file is no UTF-8, and a model that gives several answers takes text") from None
    tensor = {"name": one["name"], "datatype": "BYTES", "shape": shape}
    size = {"binary_data_size": len(content) + 4}
    head = json.dumps({"inputs": [{**tensor, "parameters": size}]}).encode()
    # Source: Open Inference Protocol, "binary tensor data extension": an element is its length and its bytes.
    return Sent("infer", head + len(content).to_bytes(4, "little") + content, {BINARY: str(len(head))})


def parts_of(answer: Answer) -> list[dict[str, Any]]:
    """The values of an answer; of each of several answers, in order."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [answer.json()]
    return [json.loads(line[5:]) for line in answer.body.decode().splitlines() if line.startswith("data:")]


def outputs_of(answer: Mapping[str, Any]) -> list[str]:
    """A line for each output of an answer of infer or generate."""
    if "outputs" in answer:
        outputs = {
            f"{one['name']} {one['datatype']} {one['shape']}": one.get("data") for one in answer["outputs"]
        }
    else:
        outputs = {
            name: value for name, value in answer.items() if name not in ("id", "model_name", "model_version")
        }
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in outputs.items()}
    return [
        f"{name}: {text if len(text) <= LONGEST else f'{text[:LONGEST]}… ({len(text)} characters; all with --json)'}"
        for name, text in texts.items()
    ]
