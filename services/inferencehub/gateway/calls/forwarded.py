"""The stage that passes chosen headers on to models, as parameters of the request under their lower-case names.

Source: Triton, `--http-header-forward-pattern` and "Parameters Extension". So requests run in one batch only where these headers
are equal, a model gets them wherever it gets parameters, and so does one of a server that is none of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from inferencehub.core.auth.authentication import Metadata
from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.stages import Stage


class ForwardedHeaders(Stage):
    """Notes the headers, and refuses parameters in their place.

    Args:
        names: of the headers, in lower case.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = {name.encode(): name for name in names}

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets `exchange.forwarded`. Of a header that comes several times, the last one counts."""
        found = {name: text_of(metadata[key]) for key, name in self._names.items() if key in metadata}
        exchange.forwarded = found or None

    def admit(self, exchange: Exchange, request: InferRequest, rows: int) -> None:
        """See `Stage`.

        Raises:
            HubError: BAD_INPUT if the caller sends a parameter with the name of a header: models must be able to trust a header
                that a proxy sets.
        """
        if exchange.losses is not None and exchange.forwarded is None:
            return  # the attempt of a job of gRPC, whose message has got what the stage gave it
        for name in self._names.values():
            if name in request.parameters:
                raise bad_input(f"parameter '{name}' is reserved, expected a header of this name")


def text_of(value: bytes) -> str:
    """A header's value as text: UTF-8, or else Latin-1, as old clients write it (RFC 9110, section 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
