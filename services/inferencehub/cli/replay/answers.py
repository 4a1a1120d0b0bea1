"""Compares two answers: their statuses, and what their bodies say."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from math import isclose, isnan
from typing import Any

from inferencehub.cli.replay.tensors import json_of, values_of
from inferencehub.core.http1.recording.line import Body

JSON_BYTES = "inference-header-content-length"
MOST_SHOWN = 3  # differences of one answer
LONGEST = 60  # characters of a value that is shown
FAILED = 400  # the lowest status of an answer whose body is a sentence


def differences(
    status: int,
    headers: Mapping[str, str],
    answer: Body,
    now_status: int,
    now_headers: Mapping[str, str],
    now: bytes,
    tolerance: float,
    ignored: Set[str],
) -> list[str]:
    """What differs, each in one line, at most `MOST_SHOWN` of them; [] for answers that say the same.

    Errors are the same if their statuses are: their sentences may have times and names.

    Args:
        status, headers, answer: as recorded.
        now_status, now_headers, now: as they are now; names of headers are in lower case.
        tolerance: how far two numbers may be apart of which one has a fraction, relative to the larger one, or to 1.
        ignored: names of JSON fields that may differ.
    """
    if status != now_status:
        told = f": {shown(now[:1000].decode(errors='replace'))}" if now_status >= FAILED else ""
        return [f"status: recorded {status}, now {now_status}{told}"]
    if status >= FAILED:
        return []
    if not answer.kept:
        same = sha256(now).hexdigest() == answer.sha256
        return (
            [] if same else [f"body: recorded {answer.size} bytes with another digest, now {len(now)} bytes"]
        )
    recorded = answer.content()
    if recorded == now:
        return []
    before, after = read(headers, recorded), read(now_headers, now)
    try:
        return list(islice(unequal("$", before, after, tolerance, ignored), MOST_SHOWN))
    except RecursionError:
        return ["body: other bytes, and too deeply nested to be compared by value"]


def read(headers: Mapping[str, str], content: bytes) -> Any:
    """What a body says, as values that can be compared; its bytes if they can't be read."""
    kind = headers.get("content-type", "").partition(";")[0].strip()
    try:
        if JSON_BYTES in headers:
            return values_of(content, int(headers[JSON_BYTES]))
        if kind == "text/event-stream":
            return list(events_of(content))
        if kind == "application/json":
            return json_of(content)
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    return content


def events_of(content: bytes) -> Iterator[Any]:
    """The data of each server-sent event, as values where it is JSON; of one with a name both. Comments are left out."""
    for event in content.decode(errors="replace").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        names = [line[6:].strip() for line in event.split("\n") if line.startswith("event:")]
        if lines:
            data: Any = "\n".join(lines)
            with suppress(ValueError):
                data = json_of(data.encode())
            yield {"event": names[-1], "data": data} if names else data


def unequal(path: str, before: Any, after: Any, tolerance: float, ignored: Set[str]) -> Iterator[str]:
    """Where two values differ, each in one line that begins with the path to it."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [name for name in {**before, **after} if name not in ignored]:
            inner = f"{path}.{name}"
            if name not in after:
                yield f"{inner}: recorded {shown(before[name])}, now it is not there"
            elif name not in before:
                yield f"{inner}: not there when recorded, now {shown(after[name])}"
            else:
                yield from unequal(inner, before[name], after[name], tolerance, ignored)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: recorded {len(before)} elements, now {len(after)}"
            return
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            if type(one) is not type(other) or one != other or isinstance(one, list | dict):
                yield from unequal(f"{path}[{place}]", one, other, tolerance, ignored)
    elif not equal(before, after, tolerance):
        yield f"{path}: recorded {shown(before)}, now {shown(after)}"


def equal(before: Any, after: Any, tolerance: float) -> bool:
    """Whether two values that are neither lists nor objects are the same."""
    if is_number(before) and is_number(after):
        if isinstance(before, int) and isinstance(after, int):
            return before == after
        try:
            if isnan(before) or isnan(after):
                return isnan(before) and isnan(after)
            # An infinite number is near no other one.
            return isclose(before, after, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:  # an integer that is larger than any number with a fraction
            return bool(before == after)
    return type(before) is type(after) and bool(before == after)


def is_number(value: Any) -> bool:
    """Whether it is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, bytes):
        text = f"{len(value)} bytes {b64encode(value[:30]).decode()}"
    else:
        text = json.dumps(value, ensure_ascii=False, default=shown)  # outputs may have bytes
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
