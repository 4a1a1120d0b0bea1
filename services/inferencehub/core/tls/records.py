"""Where the records of TLS end in the bytes that arrive (RFC 8446 5.1).

OpenSSL is asked for a record when the whole of it is there: the error for one that is not takes longer than to decrypt it.
"""

from __future__ import annotations

HEAD_BYTES = 5
LONGEST = 2**14 + 2048  # bytes behind a head (RFC 5246 6.2.3); OpenSSL refuses a longer record by its head


class Records:
    """The records of one connection. `left` is how many bytes of the current one have not arrived, 0 between two."""

    __slots__ = ("_head", "left")

    def __init__(self) -> None:
        self.left = 0
        self._head = b""  # of the next record, as long as it is not complete

    def end(self, buffer: memoryview, at: int, size: int) -> int:
        """Take the bytes of one record.

        Args:
            buffer: holds `size` bytes that have arrived.
            at: where in the buffer the bytes begin that were not taken.

        Returns:
            Where the record ends, or `size` if its end has not arrived.
        """
        if not self.left:
            have = len(self._head)
            head = self._head + bytes(buffer[at : min(at + HEAD_BYTES - have, size)])
            if len(head) < HEAD_BYTES:
                self._head = head
                return size
            self._head = b""
            length = head[3] << 8 | head[4]
            self.left = HEAD_BYTES - have + (length if length <= LONGEST else 0)
        end = min(at + self.left, size)
        self.left -= end - at
        return end
