"""Binary tensors over HTTP: raw tensors behind the JSON (Open Inference Protocol, "binary tensor data extension").

The header `Inference-Header-Content-Length` says where the JSON ends. Behind the JSON come the bytes of the inputs that
have the parameter `binary_data_size`, in the order of the inputs. Answers carry raw outputs in the same way. An input
is a view into the body, an output a view into the pod's message: nothing is copied here.
"""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import bad_input, shown

JSON_SIZE = b"inference-header-content-length"


def json_size(headers: Mapping[bytes, bytes]) -> int | None:
    """The size of a body's JSON in bytes; None if the whole body is JSON.

    Raises:
        HubError: BAD_INPUT if the header is not a number.
    """
    told = headers.get(JSON_SIZE)
    if told is None:
        return None
    if not told.isdigit() or len(told) > 12:
        raise bad_input(
            "Inference-Header-Content-Length: expected the size of the JSON, in bytes, "
            f"got '{told[:40].decode('latin-1')}'"
        )
    return int(told)


def split(body: Body, size: int | None) -> tuple[bytes, Buffers]:
    """The JSON of a body, and the raw tensors behind it.

    Args:
        body: the whole body.
        size: bytes of the JSON; None if the whole body is JSON.

    Raises:
        HubError: BAD_INPUT if the body has less than `size` bytes.
    """
    if size is None:
        return bytes(body), Buffers(memoryview(b""))
    if size > len(body):
        raise bad_input(
            f"Inference-Header-Content-Length: expected at most the body's {len(body)} bytes, got {size}"
        )
    return bytes(body[:size]), Buffers(memoryview(body)[size:])


class Buffers:
    """The raw tensors of a request, one behind the other.

    Args:
        rest: the bytes behind the JSON.
    """

    def __init__(self, rest: memoryview) -> None:
        self._rest = rest
        self._taken = 0

    def take(self, name: str, size: object) -> memoryview:
        """The bytes of the next input.

        Args:
            name: the input's name, for errors.
            size: its parameter `binary_data_size`, not yet checked.

        Raises:
            HubError: BAD_INPUT if `size` is not a whole number from 0, or more than the bytes that are left.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise bad_input(
                f"input '{name[:80]}': binary_data_size is {shown(size)}, expected a whole number from 0"
            )
        start, self._taken = self._taken, self._taken + size
        if self._taken > len(self._rest):
            raise bad_input(
                f"input '{name[:80]}': binary_data_size is {shown(size)}, but {len(self._rest) - start} bytes are left "
                "in the body"
            )
        return self._rest[start : self._taken]

    def end(self) -> None:
        """Check that the inputs have used all bytes.

        Raises:
            HubError: BAD_INPUT if bytes are left over.
        """
        left = len(self._rest) - self._taken
        if left:
            raise bad_input(f"{left} bytes are left in the body behind its last binary input, expected none")
