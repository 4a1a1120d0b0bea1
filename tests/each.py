"""One test for many things: `@for_each(FILES)` instead of a case for each, of which each costs every worker its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def for_each(things: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """Make a check of one thing a test of all; its failure names each thing that breaks the rule.

    Args:
        things: which it must hold for, at least one.
    """
    checked = list(things)

    def of_all(check: Callable[[str], None]) -> Callable[[], None]:
        def test() -> None:
            broken = {}
            for thing in checked:
                try:
                    check(thing)
                except AssertionError as error:
                    broken[thing] = str(error)
            assert checked
            assert not broken, "\n".join(f"{thing}: {error}" for thing, error in broken.items())

        test.__doc__ = check.__doc__
        return test

    return of_all
