"""Reads what a caller says of a batch: the body of POST /v1/batches."""

from __future__ import annotations

from typing import NamedTuple

from inferencehub.core.values.errors import shown
from inferencehub.gateway.http_api.openai_batches.about import About
from inferencehub.gateway.json_codec.openai.errors import WrongField
from inferencehub.gateway.json_codec.openai.fields import Fields, decode_fields, model_of, typed

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
WINDOW, WINDOW_S = "24h", 86_400.0
MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512  # of metadata
KEPT_S = (3600, 2_592_000)  # seconds that files may be kept
KNOWN = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")


class Asked(NamedTuple):
    """What was said; `keep_s` is how long results are kept, None if that was not said."""

    about: About
    keep_s: float | None


def read_asked(body: bytes, wait_s: float | None) -> Asked:
    """Read a body.

    Args:
        body: JSON.
        wait_s: seconds that items may wait, if the call says so elsewhere.

    Raises:
        HubError: BAD_INPUT naming the field that is not as expected.
    """
    fields = decode_fields(body)
    file, endpoint, window = (model_of(fields, name) for name in KNOWN[:3])
    if endpoint not in ENDPOINTS:
        expected = ", ".join(ENDPOINTS)
        raise WrongField("endpoint", f"'endpoint': expected one of {expected}, got {shown(endpoint)}")
    if window != WINDOW:
        raise WrongField("completion_window", f"'completion_window': expected '24h', got {shown(window)}")
    for name in fields:
        if name not in KNOWN:
            raise WrongField(name[:80], f"'{name[:80]}' is unknown", "unknown_parameter")
    about = About(file, endpoint, WINDOW_S if wait_s is None else wait_s, metadata_of(fields))
    if "output_expires_after" not in fields:
        return Asked(about, None)
    after = typed(fields, "output_expires_after", dict, "an object")
    return Asked(about, seconds_of(after.get("anchor"), after.get("seconds"), "output_expires_after"))


def seconds_of(anchor: object, seconds: object, name: str) -> float:
    """Seconds from the making of a file to its end.

    Raises:
        WrongField: if they are none.
    """
    least, most = KEPT_S
    if anchor != "created_at" or type(seconds) is not int or not least <= seconds <= most:
        raise WrongField(
            name,
            f"'{name}': expected the anchor 'created_at' and from {least} to {most} seconds, "
            f"got {shown(anchor)} and {shown(seconds)}",
        )
    return float(seconds)


def metadata_of(fields: Fields) -> dict[str, str] | None:
    """What is put down of a batch.

    Raises:
        WrongField: if it is more than OpenAI has room for, or no text.
    """
    if "metadata" not in fields:
        return None
    metadata: dict[str, str] = typed(fields, "metadata", dict, "an object")
    for key, value in metadata.items():
        if len(key) > LONGEST_KEY or type(value) is not str or len(value) > LONGEST_VALUE:
            raise WrongField(
                "metadata",
                f"'metadata': expected names of {LONGEST_KEY} characters and texts of {LONGEST_VALUE} at most, "
                f"got {shown(key)} and {shown(value)}",
            )
    if len(metadata) > MOST_PAIRS:
        raise WrongField("metadata", f"'metadata': expected {MOST_PAIRS} pairs at most, got {len(metadata)}")
    return metadata
