"""onnxruntime's errors: whose fault they are, and a sentence without its source code.

At a run, INVALID_ARGUMENT is the caller's fault. FAIL and RUNTIME_EXCEPTION are what most operators raise for shapes
and values that do not fit together, but also for everything else: they are the caller's fault if the text is about
shapes, indices or values. Memory that runs out and an operator that is not implemented never are.
"""

from __future__ import annotations

import re

from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.inference.runtimes.support.error_text import ABOUT_INPUT, NOT_INPUT, failed_run, first_line

CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : (\w+) : ")
NODE = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'[^']*' Status Message: ")
# Locations in onnxruntime's source code: a file with a line, then a function, with or without its parameters. A check
# that failed follows it ("a == b was false. ").
LOCATION = re.compile(r"\S*?[\w.]+\.(?:h|cc|cpp|cu):\d+ ")
FUNCTION = re.compile(
    r"^.*?\w+::.*\)(?:::<lambda\(\)>)?(?: const)?(?: \[with [^\]]*\])? |^(?:operator\(\)|[A-Z]\w*) "
)
SYMBOL = re.compile(r":?\b\w+(?:::~?\w+)+(?:\([^)]*\))?")  # a name of C++, with its parameters
CHECK = re.compile(r"^.*? was (?:false|true)\. ")
NO_NUMBER = re.compile(r"^sto(?:d|f|i|l|ll|ul|ull)$")  # C++ functions that read a number from a text


def run_error(model: str, error: Exception) -> HubError:
    """The error for the caller of a run that failed."""
    text = str(error)
    code = CODE.search(text)
    if code is None:
        return failed_run(model)
    sentence = message_of(error)
    kind = code.group(1)
    callers = kind == "INVALID_ARGUMENT" or (
        kind in ("FAIL", "RUNTIME_EXCEPTION")
        and (ABOUT_INPUT.search(sentence) is not None or NO_NUMBER.search(last_part(text)) is not None)
    )
    if not callers or NOT_INPUT.search(sentence):
        return failed_run(model)
    return bad_input(f"model '{model}' does not take this input: {sentence}")


def message_of(error: Exception) -> str:
    """onnxruntime's message: the operator and what is wrong, without codes, locations and names of its source code."""
    text = str(error)
    node = NODE.search(text)
    plain = last_part(text)
    if NO_NUMBER.search(plain):
        plain = "a text is not a number"
    plain = plain or "onnxruntime gives no reason"
    return first_line(f"{node.group(1)}: {plain}" if node else plain)


def last_part(text: str) -> str:
    """What follows the codes, the operator and the location in the source code."""
    text = NODE.sub("", CODE.sub("", text.strip().partition("\n")[0]))
    found = list(LOCATION.finditer(text))
    if found:
        before = text[: found[0].start()].removesuffix("Exception during initialization: ")
        after = FUNCTION.sub("", text[found[-1].end() :], count=1)
        text = before + CHECK.sub("", after, count=1)
    return SYMBOL.sub("", text).strip()
