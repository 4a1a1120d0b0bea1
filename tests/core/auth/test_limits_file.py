"""The file of limits: what it may say, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencehub.core.auth.limits import Limits
from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.files.watched import BadFile


def read(tmp_path: Path, text: str) -> LimitsFile:
    file = tmp_path / "limits.json"
    file.write_text(text)
    return LimitsFile(str(file), "HUB_LIMITS")


def test_the_first_entry_that_fits_counts_and_bursts_are_those_of_a_second(tmp_path: Path) -> None:
    limits = read(
        tmp_path,
        """{"tenants": [{"tenant": "free-*", "rate": 2.5}, {"tenant": "gold"}, {"tenant": "*", "rows": 10, "rows_burst": 7}],
        "addresses": {"body_bytes": 9}}""",
    )
    assert limits.tenants.of("free-1") == Limits(rate=2.5, burst=3)
    assert limits.tenants.of("gold") is None
    assert limits.tenants.of("free") == Limits(rows=10, rows_burst=7)
    assert limits.addresses == Limits(body_bytes=9)
    assert limits.models.of("digits") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ('{"tenant": []}', "Object contains unknown field `tenant`"),
        ('{"tenants": [{"rate": 1}]}', "Object missing required field `tenant` - at `$.tenants[0]`"),
        ('{"tenants": [{"tenant": "a", "rate": 0}]}', "Expected `float` >= 0.0001 - at `$.tenants[0].rate`"),
        ('{"models": [{"model": "m", "burst": 3}]}', "model 'm' has a burst without rate, expected both or none"),
        ('{"addresses": {"rows_burst": 3}}', "addresses has a rows_burst without rows, expected both or none"),
        (
            '{"models": [{"model": "m", "body_bytes": 3}]}',
            "model 'm' has body_bytes, but a body is read before its model is known",
        ),
        (
            '{"models": [{"model": "m", "rows_per_day": 3}]}',
            "model 'm' has a quota of a day, which only keys and tenants have",
        ),
        (
            '{"addresses": {"calls_per_day": 3}}',
            "addresses has a quota of a day, which only keys and tenants have",
        ),
        (
            '{"tenants": [{"tenant": "a", "calls_per_day": 0}]}',
            "Expected `int` >= 1 - at `$.tenants[0].calls_per_day`",
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadFile) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"HUB_LIMITS ({tmp_path}/limits.json) cannot be used: {said}"
