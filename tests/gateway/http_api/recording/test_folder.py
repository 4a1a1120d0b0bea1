"""The files of a recording: how large they get, and what a full disk does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferencehub.gateway.http_api.recording.folder import Folder
from tests.gateway.http_api.recording.recorded import BODY, becomes, calls_in, counted
from tests.hub import mock_model, running_hub

BOUND = 2**20
LINE = b'{"a":"%b"}\n'


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_the_oldest_files_go_and_all_together_keep_the_bound(tmp_path: Path) -> None:
    before = tmp_path / "calls-20200101T000000.000000Z.jsonl"
    before.write_bytes(LINE % (b"x" * 100_000))
    other = tmp_path / "notes.txt"
    other.write_text("not ours")
    folder = Folder(tmp_path, BOUND)
    for number in range(1000):
        folder.write(LINE % (b"%d" % number * 1000))
        assert size_of(tmp_path) - other.stat().st_size <= BOUND
    assert not before.exists()
    assert other.exists()
    files = sorted(tmp_path.glob("*.jsonl"))
    assert 3 <= len(files) <= 5
    assert all(file.stat().st_size <= BOUND // 4 for file in files)
    lines = b"".join(file.read_bytes() for file in files).splitlines(keepends=True)
    newest = [LINE % (b"%d" % number * 1000) for number in range(1000 - len(lines), 1000)]
    assert lines == newest
    assert len(lines) > 200
    folder.close()


def test_a_file_without_a_line_goes_at_the_end(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a/b", BOUND)
    assert len(list((tmp_path / "a/b").iterdir())) == 1
    folder.close()
    assert not list((tmp_path / "a/b").iterdir())


def test_processes_that_are_killed_leave_no_heap_of_empty_files(tmp_path: Path) -> None:
    for _ in range(20):
        Folder(tmp_path, BOUND).write(LINE)  # and it is not closed
        Folder(tmp_path, BOUND)
        Folder(tmp_path, BOUND)
    files = list(tmp_path.iterdir())
    assert len(files) == 21
    assert size_of(tmp_path) == 20 * len(LINE)


def test_nobody_s_link_is_followed_and_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "calls").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="File exists"):
        Folder(tmp_path / "calls", BOUND)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, timeout=30).returncode:
        pytest.skip("it may not mount")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True, timeout=30)


async def test_a_full_disk_costs_no_call_and_leaves_only_whole_lines(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mock_model(tmp_path / "models")
    ballast = small_disk / "ballast"
    async with running_hub(tmp_path / "models", record=str(small_disk), record_share=1.0) as hub:
        assert (await hub.post("/predict", BODY))[0] == 200
        await becomes(hub, {"written": 1})
        ballast.write_bytes(bytes(27 * 2**10))
        large = {**BODY, "features": [0.5] * 2000}
        assert (await hub.post("/predict", large))[0] == 200
        await becomes(hub, {"written": 1, "failed": 1})
        [said] = [record for record in caplog.records if record.message == "calls not recorded"]
        assert "No space left" in said.__dict__["error"]
        assert len(calls_in(small_disk)) == 1
        ballast.unlink()
        assert (await hub.post("/predict", large))[0] == 200
        await becomes(hub, {"written": 2, "failed": 1})
        assert [len(call.body.content()) > 1000 for call in calls_in(small_disk)] == [False, True]
        assert (await counted(hub))["failed"] == 1
