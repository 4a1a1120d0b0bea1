"""What is wished of models, as a store keeps it for all gateways: whether each is to be loaded, and how.

Only the store gives revisions. They follow its clock, so those of a store that was lost and begins anew are higher than all
that pods have heard of before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Wish(NamedTuple):
    """What the last load or unload of a model wishes.

    Args:
        model: its name.
        revision: the number of the change, which grows.
        loaded: whether the model is to be loaded.
        config: its configuration as JSON in place of the one that the repository has; "" for that one.
    """

    model: str
    revision: int
    loaded: bool
    config: str


class Known(NamedTuple):
    """All wishes by model, and a mark that is another one after each change of them."""

    mark: int
    wishes: Mapping[str, Wish]


class Wishes(Protocol):
    """What keeps them. Each raises `HubError` NOT_READY where it can't be reached or used."""

    async def revision(self) -> int:
        """The number of a new change: higher than all before."""

    async def keep(self, wish: Wish) -> None:
        """Keep what a change wishes of a model, unless a change with a higher revision was kept before."""

    async def read(self, mark: int) -> Known | None:
        """All wishes; None if they are those that came with this mark."""
