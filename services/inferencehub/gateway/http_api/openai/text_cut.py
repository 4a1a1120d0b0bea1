"""Where a text ends that comes in pieces: at a stop sequence, or at a number of tokens.

The result does not depend on how the text is cut into pieces. A piece that may be the beginning of a stop sequence is
held back until more text shows whether it is. Of several stop sequences the one that is complete first holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from inferencehub.gateway.json_codec.openai.counting import TOKEN, count_tokens, is_word


class TextCut:
    """See the module's text.

    Args:
        stops: the stop sequences; none is empty.
        most_tokens: the largest number of tokens; None for no limit.

    `tokens` is the number of tokens that were given out. `reason` is "stop" or "length" once the text has been cut: what
    comes then is dropped.
    """

    def __init__(self, stops: Sequence[str] = (), most_tokens: int | None = None) -> None:
        self.tokens = 0
        self.reason = ""
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._most = most_tokens
        self._held = ""  # what may be the beginning of a stop sequence
        self._in_word = False  # whether the text that was given out ends with a word, which may go on

    def feed(self, piece: str) -> str:
        """The text that can be given out now that `piece` has come."""
        if self.reason:
            return ""
        text, self._held = self._held + piece, ""
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.reason = "stop"
            return self._counted(text[: min(ends)[1]])
        held = self._beginning(text)
        if held:
            text, self._held = text[:-held], text[-held:]
        return self._counted(text)

    def end(self) -> str:
        """The rest of the text: there are no more pieces."""
        text, self._held = self._held, ""
        return self._counted(text)

    @property
    def full(self) -> bool:
        """Whether the text has the largest number of tokens."""
        return self._most is not None and self.tokens >= self._most

    def _beginning(self, text: str) -> int:
        """The length of the longest end of `text` with which a stop sequence begins."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops if len(stop) > size):
                return size
        return 0

    def _counted(self, text: str) -> str:
        """Count the tokens of the next text; the part of it that fits."""
        if not text:
            return ""
        more = count_tokens(text, self._in_word)
        if self._most is None or self.tokens + more < self._most:
            self.tokens += more
            self._in_word = is_word(text[-1])
            return text
        end = 0
        for token in TOKEN.finditer(text):
            goes_on = self._in_word and not token.start() and is_word(text[0])
            if not goes_on:
                if self.full:
                    break
                self.tokens += 1
            end = token.end()
        if self.full and end < len(text):
            self.reason = "length"
            text = text[:end]
        if text:
            self._in_word = is_word(text[-1])
        return text
