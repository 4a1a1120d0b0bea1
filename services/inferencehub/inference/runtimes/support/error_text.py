"""Error text of libraries and of users' code, fit for callers: at most the first line, without this machine's directories."""

from __future__ import annotations

import re

from inferencehub.core.values.errors import HubError, Kind

LONGEST = 300
IN_LOG = "its pod's log says why"
# The directories of an absolute path, up to its last name; a URL has no such beginning.
DIRECTORIES = re.compile(r"(?<![\w./~-])/(?:[^\s/'\",:;()<>]+/)+")
# What libraries of tensors say where shapes, indices or values do not fit together, and where the fault is not the input's.
ABOUT_INPUT = re.compile(
    r"shape|\bdim|\brank|\bax[ei]s\b|broadcast|\bindex\b|\bindices\b|out of (?:data )?bounds|out of range|channel|"
    r"by zero|overflow|negative|greater|less than|must be|should be|length|cannot be",
    re.IGNORECASE,
)
NOT_INPUT = re.compile(r"alloc|memory|not implemented|not supported|unsupported", re.IGNORECASE)


def without_directories(text: str) -> str:
    """The text, with each absolute path replaced by its last part."""
    return DIRECTORIES.sub("", text)


def first_line(message: object) -> str:
    """The first line of a text or of an exception's message, at most `LONGEST` characters; "" if it is empty."""
    lines = str(message).strip().splitlines()
    return without_directories(lines[0])[:LONGEST] if lines else ""


def named(error: BaseException) -> str:
    """An exception in one line: its message, behind its name where the message says little: a key, a number, nothing."""
    text, name = first_line(error), type(error).__name__
    if isinstance(error, KeyError) or " " not in text:
        return f"{name}: {text}" if text else name
    return text


def failed(sentence: str) -> HubError:
    """The error for a model that cannot be served."""
    return HubError(Kind.MODEL_FAILED, sentence)


def failed_run(model: str) -> HubError:
    """The error for the caller if the model's own code failed. The details are only in the log."""
    return HubError(Kind.MODEL_FAILED, f"model '{model}' failed on this request; {IN_LOG}")
