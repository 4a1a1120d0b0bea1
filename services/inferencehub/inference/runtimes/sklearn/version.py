"""Which version of scikit-learn wrote a model file, where it is another than the one here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile, ZipFile

import sklearn
from sklearn.exceptions import InconsistentVersionWarning

# Each estimator in the schema of a skops file keeps its version, a text in JSON in JSON.
IN_SCHEMA = re.compile(r'"_sklearn_version": \{[^{}]*"content": "\\"([^"\\]+)\\""')


class Written:
    """The version that wrote a file; `by` is "" until it is known."""

    def __init__(self) -> None:
        self.by = ""

    def __str__(self) -> str:
        """A few words if it is another version; "" if not."""
        other = self.by not in ("", sklearn.__version__)
        return f"written by scikit-learn {self.by}, here is {sklearn.__version__}" if other else ""


@contextmanager
def written(file: Path) -> Iterator[Written]:
    """Find the version of a file that is read meanwhile; an error that comes out gets it as a note.

    A skops file has it in its schema. Of a pickle, only the warning of scikit-learn tells.
    """
    version = Written()
    if file.suffix == ".skops":
        version.by = in_schema(file)
    with warnings.catch_warnings():
        show = warnings.showwarning

        def noted(message: Warning | str, *rest: Any, **named: Any) -> None:
            if isinstance(message, InconsistentVersionWarning):
                version.by = version.by or str(message.original_sklearn_version)
            show(message, *rest, **named)

        warnings.showwarning = cast(Any, noted)
        try:
            yield version
        except Exception as error:
            if text := str(version):
                error.add_note(text)
            raise


def in_schema(file: Path) -> str:
    """The version in a skops file; "" if it says none, or cannot be read."""
    try:
        with ZipFile(file) as archive:
            found = IN_SCHEMA.search(archive.read("schema.json").decode(errors="replace"))
    except (OSError, BadZipFile, KeyError):
        return ""
    return found[1] if found else ""
