"""`@value_class`: a frozen dataclass to mypy, a plain one with slots to the interpreter.

Nobody may assign to a field of a value, and mypy finds who does. A guard at run time would cost more than all else in
making one: a frozen dataclass sets each field through `object.__setattr__`, and a request makes about ten values.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

__all__ = ["value_class"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value_class
else:

    def value_class(*, frozen: bool, slots: bool):  # noqa: ANN201  mypy reads the import above
        """`dataclass(frozen=True, slots=True)`, not guarded at run time."""
        assert frozen
        return dataclasses.dataclass(slots=slots, unsafe_hash=True)
