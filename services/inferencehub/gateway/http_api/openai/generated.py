"""The text that a model generates for a call, piece by piece, with the reason of its end and the tokens that it used."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Tensor, unpack_bytes
from inferencehub.gateway.http_api.openai.text_cut import TextCut
from inferencehub.gateway.json_codec.answer_json import elements

REASONS = ("", "stop", "length", "content_filter")


class Generated:
    """See the module's text.

    Args:
        prompt_tokens: the tokens of the prompt, as the gateway counts them.
        stops: the stop sequences.
        most_tokens: the largest number of tokens; None for no limit.

    Tokens are those that the model counts, if it does; else those of the rule in `counting.py`.
    """

    def __init__(self, prompt_tokens: int, stops: Sequence[str], most_tokens: int | None) -> None:
        self._most = most_tokens
        self._cut = TextCut(stops, most_tokens)
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._reason = ""  # the model's
        self._prompt_tokens = prompt_tokens
        self._tokens: int | None = None  # the model's count

    def add(self, response: InferResponse) -> str:
        """The text to show after another answer of the model.

        Raises:
            HubError: MODEL_FAILED if the answer is not as the contract says.
        """
        piece = ""
        for output in response.outputs:
            if output.name == "text":
                piece = self._decode(response.model, only(response.model, output))
            elif output.name == "finish_reason":
                self._finish(response.model, only(response.model, output))
            elif output.name == "prompt_tokens":
                self._prompt_tokens = count_of(response.model, output)
            elif output.name == "completion_tokens":
                if self._tokens is None:
                    self._cut = TextCut(self._stops)  # the model's tokens are not ours
                self._tokens = count_of(response.model, output)
        return self._cut.feed(piece)

    def end(self, model: str) -> str:
        """The rest of the text to show: the model has ended.

        Raises:
            HubError: MODEL_FAILED if its text ends within a character.
        """
        if not self.enough:
            self._decode(model, b"", final=True)
        return "" if self._cut.reason else self._cut.end()

    @property
    def enough(self) -> bool:
        """Whether the caller has all that it asked for, whatever the model would add."""
        return bool(self._cut.reason) or self._full

    @property
    def finish_reason(self) -> str:
        """Why the text ended: a stop sequence, the limit, or the model's reason."""
        if self._cut.reason:
            return self._cut.reason
        return "length" if self._full or self._cut.full else self._reason or "stop"

    @property
    def usage(self) -> dict[str, int]:
        """The tokens of prompt and text."""
        prompt = self._prompt_tokens
        text = self._cut.tokens if self._tokens is None else self._tokens
        return {"prompt_tokens": prompt, "completion_tokens": text, "total_tokens": prompt + text}

    @property
    def _full(self) -> bool:
        """Whether the model has counted as many tokens as were asked for."""
        return self._most is not None and self._tokens is not None and self._tokens >= self._most

    def _decode(self, model: str, text: bytes, final: bool = False) -> str:
        try:
            return self._decoder.decode(text, final)
        except UnicodeDecodeError:
            raise HubError(
                Kind.MODEL_FAILED, f"model '{model}' gave a text that is no UTF-8, expected UTF-8"
            ) from None

    def _finish(self, model: str, reason: bytes) -> None:
        named = reason.decode(errors="replace")
        if named not in REASONS:
            raise HubError(
                Kind.MODEL_FAILED,
                f"model '{model}' gave the finish_reason '{named[:40]}', expected stop, length, content_filter or an empty one",
            )
        self._reason = named


def only(model: str, output: Tensor) -> bytes:
    """The only element of an output of BYTES.

    Raises:
        HubError: MODEL_FAILED if it has none or several.
    """
    found = unpack_bytes(output.data)
    if len(found) != 1:
        raise HubError(
            Kind.MODEL_FAILED,
            f"model '{model}': output '{output.name}' has {len(found)} elements, expected one",
        )
    return found[0]


def count_of(model: str, output: Tensor) -> int:
    """A number of tokens: the only element of an output of integers.

    Raises:
        HubError: MODEL_FAILED if it is none.
    """
    found = elements(output)
    if len(found) != 1 or found[0] < 0:
        raise HubError(
            Kind.MODEL_FAILED,
            f"model '{model}': output '{output.name}' is {found[:4]}, expected one number from 0",
        )
    return int(found[0])
