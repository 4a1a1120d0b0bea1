"""A buffer for bytes that arrive in pieces, when the sender has announced their number."""

from __future__ import annotations

from io import BytesIO


class Written(BytesIO):
    """A BytesIO that the garbage collector may finalize while a memoryview of it still exists."""

    def close(self) -> None:
        """Do nothing.

        BytesIO raises BufferError here while a view exists, and Python 3.13 then prints it to standard error (CPython
        issue 111331).
        """


def room(size: int) -> memoryview:
    """A writable buffer of `size` bytes.

    Memory is used only for the pages that have been written. So a sender that announces many bytes and sends few costs
    little memory. `bytes(size)` gets its zeros from the operating system, page by page; `bytearray(size)` would write
    all of them at once.
    """
    return Written(bytes(size)).getbuffer()
