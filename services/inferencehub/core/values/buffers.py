"""Room for bytes that come in pieces, and of which others have said how many there will be."""

from __future__ import annotations

from io import BytesIO


def room(size: int) -> memoryview:
    """`size` bytes to be written.

    They take up memory as far as they have been, so that whoever announces much and sends little costs little: `bytes`
    leaves it to the system to give pages of zeros, where a bytearray writes them itself.
    """
    return BytesIO(bytes(size)).getbuffer()
