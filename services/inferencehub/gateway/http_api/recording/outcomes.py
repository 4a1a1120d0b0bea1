"""What becomes of a call that was chosen to be recorded; imports nothing."""

from __future__ import annotations

WRITTEN = "written"
DROPPED = "dropped"  # there was no place in the queue
LARGE = "large"  # the request or the line is too large
WITHHELD = "withheld"  # the credential of its caller stands in it
FAILED = "failed"  # the disk is full, or the folder can't be used any more
OUTCOMES = (WRITTEN, DROPPED, LARGE, WITHHELD, FAILED)
