"""Files that are read again: what is new is used, what can't be used changes nothing, and no look is the last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencehub.core.files.watched import BadFile, WatchedFiles
from tests.hub import eventually

SAID = "changed files are not used, the last good contents stay in use"


class Numbers(WatchedFiles):
    """Two files with a number each."""

    def __init__(self, directory: Path) -> None:
        self.sum = 0
        self.uses = 0
        self.before_use: Callable[[], None] = lambda: None
        super().__init__("HUB_TWO", {"HUB_TWO_A": str(directory / "a"), "HUB_TWO_B": str(directory / "b")})

    def use(self, contents: tuple[bytes, ...]) -> None:
        self.uses += 1
        self.before_use()
        try:
            self.sum = sum(map(int, contents))
        except ValueError as error:
            raise BadFile(f"HUB_TWO: {error}") from None


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    return Numbers(tmp_path)


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(one)["reason"] for one in caplog.records if one.getMessage() == SAID]


def test_only_new_contents_are_used(numbers: Numbers, tmp_path: Path) -> None:
    numbers.look()
    assert (numbers.sum, numbers.uses, numbers.reloads) == (3, 1, 0)
    (tmp_path / "b").write_text("5")
    numbers.look()
    numbers.look()
    assert (numbers.sum, numbers.uses, numbers.reloads, numbers.refused) == (6, 2, 1, False)


def test_what_can_not_be_used_is_said_once_and_not_tried_again(
    numbers: Numbers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").write_text("five")
    for _ in range(3):
        numbers.look()
    assert (numbers.sum, numbers.uses, numbers.reloads, numbers.refused) == (3, 2, 0, True)
    (reason,) = reasons(caplog)
    assert "invalid literal" in reason
    (tmp_path / "b").write_text("2")
    numbers.look()
    assert (numbers.uses, numbers.reloads, numbers.refused) == (2, 0, False), "these contents are in use"


def test_a_file_that_can_not_be_read_is_looked_at_again(
    numbers: Numbers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").unlink()
    for _ in range(3):
        numbers.look()
    assert (numbers.sum, numbers.refused) == (3, True)
    expected = f"HUB_TWO_B names {tmp_path / 'b'}, which cannot be read: No such file or directory"
    assert reasons(caplog) == [expected]
    (tmp_path / "b").write_text("7")
    numbers.look()
    assert (numbers.sum, numbers.reloads, numbers.refused) == (8, 1, False)


def test_at_the_start_bad_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    with pytest.raises(BadFile, match=r"HUB_TWO_B names .*, which cannot be read"):
        Numbers(tmp_path)
    (tmp_path / "b").write_text("two")
    with pytest.raises(BadFile, match="HUB_TWO: invalid literal"):
        Numbers(tmp_path)


@pytest.mark.long
async def test_a_look_that_fails_is_not_the_last(
    numbers: Numbers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is, the contents are tried again: they have not been used."""
    caplog.set_level(logging.INFO)
    left = 1

    def fail() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise RuntimeError("whatever it is")

    numbers.before_use = fail
    numbers.start()
    try:
        (tmp_path / "b").write_text("5")
        await eventually(lambda: numbers.reloads == 1)
    finally:
        await numbers.stop()
    assert numbers.sum == 6
    assert [one.getMessage() for one in caplog.records] == ["a look at files failed", "files reloaded"]
