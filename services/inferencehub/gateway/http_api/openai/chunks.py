"""The events of a generated text: the role (of a chat), pieces of text, the reason of the end, the usage, `[DONE]`."""

from __future__ import annotations

from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.http_api.openai.generated import Generated
from inferencehub.gateway.json_codec.openai.generation_json import CHAT, Frame

EVENT = b"data: %b\n\n"


class Chunks:
    """The `Events` of a stream.

    Args:
        frame: what all chunks have in common.
        generated: the text.
        usage: whether the last chunk says what was used.
    """

    def __init__(self, frame: Frame, generated: Generated, usage: bool) -> None:
        self._frame = frame
        self._generated = generated
        self._usage = usage
        self._begun = False

    def part(self, response: InferResponse) -> bytes:
        """See `Events`."""
        return self._shown(self._generated.add(response))

    def last(self) -> bytes:
        """See `Events`."""
        generated, frame = self._generated, self._frame
        text = self._shown(generated.end(frame.model))
        text += EVENT % frame.chunk({}, generated.finish_reason, self._usage)
        if self._usage:
            text += EVENT % frame.used(generated.usage)
        return text + EVENT % b"[DONE]"

    @property
    def enough(self) -> bool:
        """See `Events`."""
        return self._generated.enough

    def _shown(self, piece: str) -> bytes:
        """The chunk of a piece of text, and before the first one that of the role; b"" for no text."""
        text = b""
        if not self._begun:
            self._begun = True
            if self._frame.form is CHAT:
                role = {"role": "assistant", "content": ""}
                text = EVENT % self._frame.chunk(role, None, self._usage)
        if piece:
            text += EVENT % self._frame.chunk({"content": piece}, None, self._usage)
        return text
