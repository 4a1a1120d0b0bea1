"""`@value_class`: mypy sees a frozen dataclass, the interpreter sees a plain dataclass with slots.

No code may assign to a field of a value, and mypy reports an error if some code does. A check at run time would make
values much slower to create: a frozen dataclass sets each field through `object.__setattr__`, and one request creates
about ten values.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

__all__ = ["value_class"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value_class
else:

    def value_class(*, frozen: bool, slots: bool):  # noqa: ANN201  mypy reads the import above
        """`dataclass(frozen=True, slots=True)` without the guard at run time."""
        assert frozen
        return dataclasses.dataclass(slots=slots, unsafe_hash=True)
