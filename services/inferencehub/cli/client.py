"""A gateway as the commands that call it see it: where it is, who calls, and what it says in place of an answer."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import click

if TYPE_CHECKING:
    import aiohttp

KEY = "INFERENCEHUB_API_KEY"
URL = "http://127.0.0.1:3000"
ANSWER_S, CONNECT_S = 600.0, 10.0
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
F = TypeVar("F", bound=Callable[..., Any])


class Refused(Exception):
    """A gateway answered with an error. The text is its sentence.

    Args:
        status: of HTTP.
        sentence: what the gateway said.
        retry_s: seconds after which it may be tried again; None if the gateway did not say.
    """

    def __init__(self, status: int, sentence: str, retry_s: float | None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_s = retry_s


class Unreachable(Exception):
    """There was no answer. The text says why."""


class Answer(NamedTuple):
    """What a gateway answered: its status, its headers by name in lower case, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as values.

        Raises:
            ValueError: if it is no JSON.
        """
        return json.loads(self.body)


class Caller(NamedTuple):
    """Who calls which gateway.

    Args:
        url: of the gateway, without a path.
        key: an API key or a token, sent as a bearer; "" for none.
        ca: authorities that sign the gateway's certificate, as PEM; None for those of the system.
    """

    url: str
    key: str
    ca: Path | None


def caller_options(command: F) -> F:
    """The options of commands that call a gateway: `url`, `key_file` and `ca`."""
    options = (
        click.option("--url", default=URL, show_default=True, help="The gateway."),
        click.option(
            "--key-file", type=FILE,
            help=f"A file with an API key or a token, which is sent as a bearer. The variable {KEY} may hold it instead.",
        ),
        click.option(
            "--ca", type=FILE,
            help="Authorities that sign the gateway's certificate, as PEM; those of the system without it.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def caller(environ: Mapping[str, str], url: str, key_file: Path | None, ca: Path | None) -> Caller:
    """Who calls, from the options and the environment.

    Raises:
        UsageError: if `url` is no address.
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url is '{url}', expected http://host:port or https://host:port")
    key = environ.get(KEY, "") if key_file is None else key_file.read_text().strip()
    return Caller(url.rstrip("/"), key, ca)


class Client:
    """Calls a gateway: `async with Client(caller) as client`."""

    def __init__(self, caller: Caller) -> None:
        """Needs aiohttp.

        Raises:
            ClickException: if that is missing, or `ca` can't be read.
        """
        try:
            import aiohttp
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"{error.name} is missing, which comes with: pip install 'inferencehub[gateway]'"
            ) from None
        try:
            self._tls = True if caller.ca is None else ssl.create_default_context(cafile=str(caller.ca))
        except OSError as error:
            raise click.ClickException(f"{caller.ca}: {error}") from None
        self._failures = (aiohttp.ClientError, TimeoutError, OSError)
        self._caller = caller
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        headers = {"authorization": f"Bearer {self._caller.key}"} if self._caller.key else {}
        self._session = await self._open.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls), timeout=timeout, headers=headers
            )
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call the gateway.

        Raises:
            Refused: if the status is 400 or more.
            Unreachable: if there is no answer.
        """
        try:
            async with self._session.request(
                method, self._caller.url + path, data=body, headers=headers, allow_redirects=False
            ) as got:
                named = {name.lower(): value for name, value in got.headers.items()}
                answer = Answer(got.status, named, await got.read())
        except self._failures as error:
            raise Unreachable(
                f"{self._caller.url} gives no answer: {str(error) or type(error).__name__}"
            ) from None
        if answer.status >= 400:
            wait = named.get("retry-after", "")
            raise Refused(answer.status, sentence_of(answer), float(wait) if wait.isdecimal() else None)
        return answer


def model_path(model: str, version: str = "") -> str:
    """The path of a model, or of one of its versions."""
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def sentence_of(answer: Answer) -> str:
    """What an answer that is an error says; its status if it says nothing."""
    try:
        said = answer.json()["error"]
        return str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError):
        return f"the answer has status {answer.status}, and no sentence: is this a gateway?"
