"""Error texts: what callers see of other libraries' messages."""

from __future__ import annotations

import pytest

from inferencehub.inference.runtimes.support.error_text import first_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Load model from /models/digits/1/model.onnx failed:no", "Load model from model.onnx failed:no"),
        (
            "[Errno 2] No such file or directory: '/srv/models/a/1/w.npy'",
            "[Errno 2] No such file or directory: 'w.npy'",
        ),
        ("cannot import name 'x' (/usr/lib/python3/site-packages/y.py)", "cannot import name 'x' (y.py)"),
        ("failed:/a/b.cc:12 and /c/d.h", "failed:b.cc:12 and d.h"),
        ("see https://host/a/b or 3/4 of ./a/b", "see https://host/a/b or 3/4 of ./a/b"),
        ("one\ntwo", "one"),
        ("  ", ""),
        ("x" * 301, "x" * 300),
    ],
)
def test_one_line_without_directories(text: str, expected: str) -> None:
    assert first_line(RuntimeError(text)) == expected
