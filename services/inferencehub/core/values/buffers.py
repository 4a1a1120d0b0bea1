"""Room for bytes that come in pieces, and of which others have said how many there will be."""

from __future__ import annotations

from io import BytesIO


class Written(BytesIO):
    """One that the garbage collector may finalize while a view of it exists."""

    def close(self) -> None:
        """Nothing: BytesIO raises BufferError here, which Python 3.13 writes to standard error (CPython issue 111331)."""


def room(size: int) -> memoryview:
    """`size` bytes to be written.

    They take up memory as far as they have been, so that whoever announces much and sends little costs little: `bytes`
    leaves it to the system to give pages of zeros, where a bytearray writes them itself.
    """
    return Written(bytes(size)).getbuffer()
