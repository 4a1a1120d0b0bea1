"""Any JSON as a body of OpenAI's API is read, or refused as the caller's mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.json_codec.openai.embeddings_json import decode_embeddings
from inferencehub.gateway.json_codec.openai.generation_json import CHAT, COMPLETION, decode_asked

HELLO = [{"role": "user", "content": "hello"}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from(
    ["model", "messages", "prompt", "input", "stop", "max_tokens", "stream", "stream_options", "n", "tools",
     "response_format", "temperature", "seed", "encoding_format", "dimensions", "logit_bias", "top_k"]
)  # fmt: skip


@given(
    st.dictionaries(NAMES, JSON, max_size=4),
    st.sampled_from([{}, {"model": "m", "messages": HELLO, "prompt": "p", "input": "i"}]),
)
def test_any_body_is_read_or_refused(fields: dict[str, Any], right: dict[str, Any]) -> None:
    body = json.dumps({**right, **fields}).encode()
    for read in (lambda b: decode_asked(CHAT, b), lambda b: decode_asked(COMPLETION, b), decode_embeddings):
        assert mistake(read, body) in (None, Kind.BAD_INPUT)


def mistake(read: Callable[[Body], object], body: Body) -> Kind | None:
    """The kind of the error with which a body is refused; None if it is read."""
    try:
        read(body)
    except HubError as error:
        return error.kind
    return None
