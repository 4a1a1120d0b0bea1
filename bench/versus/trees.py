"""Checks of both checkouts: each must have its generated code, and either both or none must have compiled code."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path("services", "inferencehub")
GENERATED = PACKAGE / "pb" / "open_inference_pb2.py"
NATIVE = "libnumbers.so"


def checked(old: Path, new: Path) -> tuple[Path, Path]:
    """Both as absolute paths.

    Raises:
        SystemExit: where one has no generated code, or one alone has the compiled code, which would decide the rows of
            pictures.
    """
    trees = (old.resolve(), new.resolve())
    for tree in trees:
        if not (tree / GENERATED).exists():
            raise SystemExit(f"{tree} has no {GENERATED}: run `make install` there")
    native = [any((tree / PACKAGE).rglob(NATIVE)) for tree in trees]
    if native[0] != native[1]:
        without = trees[native.index(False)]
        raise SystemExit(f"only one of both has {NATIVE}, and {without} has none: run `make install` there")
    return trees
