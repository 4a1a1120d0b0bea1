"""Whole numbers on the command line, refused with the bounds that they have."""

from __future__ import annotations

from typing import Any

import click


class Whole(click.IntRange):
    """A whole number from `min` to `max`, which both are given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises:
            BadParameter: if it is none, or out of its bounds.
        """
        try:
            int(value)
        except ValueError:
            self.fail(f"'{value}' is no whole number, expected one from {self.min} to {self.max}", param, ctx)
        return super().convert(value, param, ctx)
