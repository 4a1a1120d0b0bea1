"""What is seen of the files below a directory."""

from __future__ import annotations

from pathlib import Path

from inferencehub.core.files.tree import look


def test_a_link_to_nothing_hides_no_other_file(tmp_path: Path) -> None:
    """In whatever order the file system lists them."""
    names = [f"file-{number}" for number in range(20)]
    for name in names:
        for directory in (tmp_path, tmp_path / f"below-{name}"):
            directory.mkdir(exist_ok=True)
            (directory / name).write_text("x")
            (directory / f"to-nothing-{name}").symlink_to(tmp_path / "gone" / name)
            (directory / f"to-itself-{name}").symlink_to(directory / f"to-itself-{name}")
    assert sorted(Path(path).name for path in look(tmp_path)) == sorted(names * 2)


def test_a_link_shows_the_file_that_it_points_to(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / f"{name}.onnx").write_text("x")
    models = tmp_path / "models"
    models.mkdir()
    link = models / "model.onnx"
    seen = []
    for name in ("old", "new"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / f"{name}.onnx")
        seen.append(look(models))
    assert [*seen[0]] == [*seen[1]] == [str(link)]
    assert seen[0] != seen[1]
