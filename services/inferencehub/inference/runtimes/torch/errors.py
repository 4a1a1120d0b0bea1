"""PyTorch's errors at a run: whose fault they are, and a sentence without the code around it."""

from __future__ import annotations

import re

from inferencehub.inference.runtimes.support.error_text import ABOUT_INPUT, NOT_INPUT, first_line

# The last line of an error in TorchScript, below two tracebacks: the exception's class and its text.
LAST = re.compile(r"^(?:builtins\.)?(\w+): (.+)\Z", re.MULTILINE | re.DOTALL)
GUARD = "Guard failed: "  # a bound of an ExportedProgram's dimensions, which an input does not keep
SCRIPT = "TorchScript interpreter"


def refusal(error: Exception) -> str:
    """The sentence for the caller of a run that has failed, if its input is at fault; "" if it is not."""
    text, kind = str(error), type(error).__name__
    if SCRIPT in text and (last := list(LAST.finditer(text))):
        kind, text = last[-1].groups()
    sentence = first_line(text)
    if kind == "ValueError":
        return sentence or "it does not take this input"
    if sentence.startswith(GUARD):
        return f"it takes only inputs with {sentence.removeprefix(GUARD)}"
    return sentence if ABOUT_INPUT.search(sentence) and not NOT_INPUT.search(sentence) else ""
