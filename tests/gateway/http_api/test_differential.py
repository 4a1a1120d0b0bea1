"""The gateway and stock uvicorn with h11 agree on some 400 shapes of requests, except for a checked-in list.

A verdict (`probing.py`) is a list of answers, `accepted` or `refused`, and the state of the connection. Each shape on
which the two differ is in `differences.toml`, with both verdicts and the reason. The test fails for a difference that
is not in the list, and for an entry whose verdict has changed or that is no difference any more.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from tests.authority import Authority, client
from tests.gateway.http_api.corpus.all_shapes import CORPUS
from tests.gateway.http_api.corpus.chunks import trailed
from tests.gateway.http_api.probing import verdicts
from tests.gateway.http_api.reference import running_reference
from tests.gateway.raw import Raw
from tests.hub import Hub, mock_model, running_hub

Side = Literal["ours", "reference", "both", "neither"]


@dataclass(frozen=True)
class Difference:
    """Shapes of which the gateway and the reference make different things.

    Args:
        shapes: their names in the corpus.
        ours, reference: the verdicts.
        right: who follows the rule.
        risk: who could be made to see a request that another server in front of it does not see, or sees otherwise.
        reason: the rule and what follows from it.
        mend: whether the gateway is to be changed.
    """

    shapes: list[str]
    ours: str
    reference: str
    right: Side
    risk: Side
    reason: str
    mend: bool = False


LISTED = [
    Difference(**entry, mend=section == "mend")
    for section, entries in tomllib.loads(Path(__file__).with_name("differences.toml").read_text()).items()
    for entry in entries
]
BY_SHAPE = {shape: difference for difference in LISTED for shape in difference.shapes}


@dataclass(frozen=True)
class Both:
    """What the two made of the whole corpus, and the gateway that was asked; `secure` is what one made of it through TLS."""

    hub: Hub
    ours: dict[str, str]
    secure: dict[str, str]
    reference: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models, slots=8)
    authority = Authority(models.parent, "authority")
    certificate, key = map(str, authority.signed("gateway"))
    trusting = client(authority.certificate.read_text())
    async with (
        running_hub(models, default_model="quick") as hub,
        running_hub(models, default_model="quick", tls_cert=certificate, tls_key=key) as secure,
        running_reference() as port,
    ):
        ours, theirs = await verdicts(hub.gateway.port, CORPUS), await verdicts(port, CORPUS)
        yield Both(hub, ours, await verdicts(secure.gateway.port, CORPUS, trusting), theirs)


@pytest.mark.parametrize("theme", sorted({shape.partition(":")[0] for shape in CORPUS}))
def test_each_verdict_is_that_of_the_reference_or_listed(both: Both, theme: str) -> None:
    wrong = {}
    for shape in CORPUS:
        found, listed = (both.ours[shape], both.reference[shape]), BY_SHAPE.get(shape)
        expected = (listed.ours, listed.reference) if listed else (found[1], found[1])
        if shape.startswith(f"{theme}:") and (found != expected or (listed and found[0] == found[1])):
            wrong[shape] = {
                "found": found,
                "listed": expected if listed else None,
                "sent": CORPUS[shape][:200],
            }
    assert not wrong, "not as in differences.toml (ours, reference):\n" + "\n".join(map(str, wrong.items()))


def test_each_verdict_is_the_same_through_tls(both: Both) -> None:
    wrong = {
        shape: (both.ours[shape], found) for shape, found in both.secure.items() if found != both.ours[shape]
    }
    assert not wrong, "in plain, through TLS:\n" + "\n".join(map(str, wrong.items()))
    assert both.secure.keys() == CORPUS.keys()


def test_the_list_names_each_shape_once_and_its_reasons() -> None:
    counted = Counter(shape for difference in LISTED for shape in difference.shapes)
    assert counted.keys() <= CORPUS.keys()
    assert {shape for shape, times in counted.items() if times > 1} == set()
    for difference in LISTED:
        assert "RFC 911" in difference.reason, difference
        assert difference.mend or difference.risk in ("reference", "neither"), difference
        assert difference.right in ("ours", "reference", "both", "neither"), difference


@pytest.mark.asyncio(loop_scope="module")
async def test_a_trailer_is_no_header(both: Both) -> None:
    """RFC 9110, 6.5.1: a trailer field is never merged into the headers, here not into the request's id."""
    async with Raw(both.hub.gateway.port) as raw:
        answer = await raw.ask_again(trailed(b"X-Request-Id: trailed"))
    assert answer.status == 200
    assert answer.headers["x-request-id"] != "trailed"
