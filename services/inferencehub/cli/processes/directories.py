"""What a directory is that a user names: a model, or a repository of models."""

from __future__ import annotations

from pathlib import Path


def is_model(directory: Path) -> bool:
    """Whether a directory is itself a model: it has a config, or versions."""
    return (directory / "config.pbtxt").exists() or any(map(is_version, directory.iterdir()))


def is_version(path: Path) -> bool:
    """Whether a path is the directory of a version, whose name is a whole number."""
    return path.name.isascii() and path.name.isdigit() and path.is_dir()


def models_in(repository: Path) -> list[Path]:
    """The directories of a repository that are models: all but hidden and private ones, and what file systems make."""
    return sorted(
        path
        for path in repository.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_")) and path.name != "lost+found"
    )
