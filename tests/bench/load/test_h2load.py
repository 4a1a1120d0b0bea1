"""Results are read from the real output of h2load."""

from __future__ import annotations

import pytest

from bench.load import h2load


def test_what_h2load_prints_is_read() -> None:
    text = "requests: 103 total, 103 started, 103 done, 100 succeeded, 2 failed, 1 errored, 0 timeout"
    seen = h2load.parsed([text], [1000, 2000, 3000], 2.0, cpu_s=0.5)
    assert (seen.rate, seen.p50_ms, seen.errors) == (50.0, 2.0, {"failed": 2, "errored": 1})
    assert seen.figures(requests=10)["cpu_us"] == 500.0
    both = h2load.parsed([text, text], [1000, 2000, 3000], 2.0)
    assert (both.rate, both.errors) == (100.0, {"failed": 4, "errored": 2})
    with pytest.raises(RuntimeError, match="refused"):
        h2load.parsed([text, "connection refused"], [1000], 2.0)
