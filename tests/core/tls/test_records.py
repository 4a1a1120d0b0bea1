"""Where records of TLS end, however the bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.tls.records import HEAD_BYTES, LONGEST, Records


def record(size: int) -> bytes:
    """A record whose content has `size` bytes."""
    return b"\x17\x03\x03" + size.to_bytes(2) + b"c" * size


def ends(pieces: list[bytes]) -> list[int]:
    """The offsets at which a record was said to be complete."""
    records, found, offset = Records(), list[int](), 0
    for piece in pieces:
        at, buffer = 0, memoryview(bytearray(piece) + b"of another connection")
        while at < len(piece):
            behind = records.end(buffer, at, len(piece))
            assert at < behind <= len(piece)
            at = behind
            if not records.left and offset + at >= HEAD_BYTES + (found[-1] if found else 0):
                found.append(offset + at)
        offset += len(piece)
    return found


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.lists(st.integers(1, 30), max_size=20))
def test_each_record_ends_where_it_ends_however_it_is_cut(sizes: list[int], cuts: list[int]) -> None:
    data, pieces = b"".join(map(record, sizes)), []
    rest = data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    expected, at = [], 0
    for size in sizes:
        at += HEAD_BYTES + size
        expected.append(at)
    assert ends([piece for piece in [*pieces, rest] if piece]) == expected


def test_a_record_that_is_too_long_ends_with_its_head() -> None:
    longest, longer = record(LONGEST), record(LONGEST + 1)
    assert ends([longest]) == [len(longest)]
    assert ends([longer[: HEAD_BYTES + 1]])[0] == HEAD_BYTES
