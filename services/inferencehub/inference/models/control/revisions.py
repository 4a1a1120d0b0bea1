"""The order of changes that gateways make: each of them tells every pod of each change, in no certain order.

So a change has a revision, a number that grows. A pod makes it once, however many gateways tell of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from inferencehub.core.oip.extension import REVISION
from inferencehub.core.values.errors import HubError, Kind, bad_input, shown
from inferencehub.inference.models.control.control import Parameters


class Revisions:
    """The revision of the last change of each model; a process begins with none."""

    def __init__(self) -> None:
        self._made: dict[str, int] = {}

    async def once(self, name: str, revision: int, work: Callable[[], Awaitable[None]]) -> None:
        """Make a change, unless it was made before. One that fails counts as not made.

        Args:
            name: the model. Only one change of it may be under way.
            revision: of the change; 0 for one that has none, which is made in any case.
            work: makes it.

        Raises:
            HubError: CONFLICT if a later change was made, and what `work` raises.
        """
        made = self._made.get(name, 0)
        if 0 < revision < made:
            raise HubError(Kind.CONFLICT, f"a later load or unload of model '{name[:80]}' was made meanwhile")
        if 0 < revision == made:
            return
        await work()
        if revision:
            self._made[name] = revision


def split(parameters: Parameters) -> tuple[int, Parameters]:
    """The revision of a change, 0 if it has none, and its other parameters.

    Raises:
        HubError: BAD_INPUT if the revision is no whole number from 1.
    """
    if REVISION not in parameters:
        return 0, parameters
    revision = parameters[REVISION]
    if type(revision) is not int or revision < 1:
        raise bad_input(f"parameter '{REVISION}' is {shown(revision)}, expected a whole number from 1")
    return revision, {name: value for name, value in parameters.items() if name != REVISION}
