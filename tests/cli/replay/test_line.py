"""Lines that others have made, such as those of a bug report."""

from __future__ import annotations

import msgspec
import pytest

from inferencehub.core.http1.recording.line import VERSION, Body, RecordedCall, encode, read_call

CALL = RecordedCall(
    version=VERSION, time=1e9, id="an-id", trace_id="", method="POST", path="/predict", headers={}, body=Body(text="{}"),
    status=200, answer_headers={}, answer=Body(text="{}"), seconds=0.01, server_timing="",
)  # fmt: skip


@pytest.mark.parametrize("path", ["@elsewhere/predict", ".elsewhere/predict", ":80/predict", ""])
def test_a_path_that_would_name_another_host_is_refused(path: str) -> None:
    assert read_call(encode(CALL)) == CALL
    with pytest.raises(ValueError, match="expected one that begins with a slash"):
        read_call(encode(msgspec.structs.replace(CALL, path=path)))
