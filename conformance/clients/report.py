"""What a client found, as lines of JSON on standard output, and the program that runs its calls on every server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

from conformance.clients.plan import Case, Plan, difference, read

Answer = Any  # decoded JSON


@dataclass(frozen=True)
class Target:
    """A server: the tier that answers, its addresses (host:port, "" for none) and the runtimes that it has."""

    tier: str
    http: str
    grpc: str
    runtimes: Sequence[str]


class CannotAskError(Exception):
    """The client itself cannot express this call; nothing was sent."""


class WrongAnswerError(Exception):
    """The server answered, and not what was expected."""


@dataclass
class Report:
    """The calls of one client to one server over one transport, written as they come.

    A result is `ok`, `wrong` (another answer than expected), `refused` (the server said why), `failed` (something else
    went wrong) or `cannot` (the client does not have it).
    """

    client: str
    transport: str
    tier: str
    out: TextIO
    refusal: Callable[[BaseException], str | None] = field(default=lambda error: None)

    async def call(
        self, call: str, case: str, ask: Callable[..., Any], *arguments: Any, **options: Any
    ) -> None:
        """Make one call and write down how it went; `ask` returns the answer to compare, or an awaitable of it."""
        began = monotonic()
        try:
            answer, result, detail = await settled(ask(*arguments, **options)), "ok", ""
        except CannotAskError as error:
            answer, result, detail = None, "cannot", str(error)
        except WrongAnswerError as error:
            answer, result, detail = None, "wrong", str(error)
        except Exception as error:
            status = self.refusal(error)
            answer, detail = status, f"{type(error).__name__}: {error}"[:300]
            result = "refused" if status is not None else "failed"
        line = {
            "client": self.client, "transport": self.transport, "tier": self.tier, "call": call, "case": case,
            "result": result, "detail": detail, "answer": answer,
            "seconds": round(monotonic() - began, 3),
        }  # fmt: skip
        print(json.dumps(line), file=self.out, flush=True)

    async def error(self, case: str, ask: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """A call that has to be refused; its status is the answer."""

        async def asked() -> Answer:
            try:
                said = await settled(ask(*arguments, **options))
            except Exception as error:
                status = self.refusal(error)
                if status is None:
                    raise
                return {"status": status}
            raise WrongAnswerError(f"expected an error, got {said!r}"[:200])

        await self.call("errors", case, asked)


async def settled(value: Any) -> Any:
    """A value, or what an awaitable gives."""
    return await value if isinstance(value, Awaitable) else value


def checked(case: Case, answers: Sequence[Mapping[str, Any]]) -> None:
    """Compare what came with what numpy computes.

    Args:
        case: what was asked.
        answers: the arrays of each answer, by the names of the outputs.

    Raises:
        WrongAnswerError: with the first difference.
    """
    if len(answers) != len(case.answers):
        raise WrongAnswerError(f"{len(answers)} answers, expected {len(case.answers)}")
    for expected, found in zip(case.answers, answers, strict=True):
        for tensor in expected:
            if wrong := difference(tensor, found.get(tensor.name)):
                raise WrongAnswerError(wrong)


Calls = Callable[[Target, Plan, TextIO], Awaitable[None]]


def run(calls: Calls) -> None:
    """The program of a client: `PLAN TARGETS`, the second being JSON. What the client prints goes to stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("targets", type=json.loads)
    given = parser.parse_args()
    with quiet() as out:
        for one in given.targets:
            target = Target(**one)
            asyncio.run(settled(calls(target, read(given.plan, target.runtimes), out)))


@contextlib.contextmanager
def quiet() -> Iterator[TextIO]:
    """Standard output for the report alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield sys.__stdout__  # type: ignore[misc]
