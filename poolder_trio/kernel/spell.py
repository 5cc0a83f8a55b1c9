"""Idle spells: how long there was nothing to do, and whether that was noticed already."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolder_trio.kernel.crew import Crew


class Spell:
    """Says when a component that has several workers may rest: once in an idle spell.

    Args:
        crew: the workers.
    """

    __slots__ = ("_crew", "_since", "rested")

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._since = crew.clock()
        #: Whether the component has rested in this spell.
        self.rested = False

    def interrupt(self) -> None:
        """Note that there is work in hand; the spell begins anew when this is said last."""
        self._since = self._crew.clock()
        self.rested = False

    def may_rest(self, after: float) -> bool:
        """Tell whether the crew has been idle for ``after`` seconds, and has not rested since.

        It is asked by a worker who is awake for that alone.
        """
        if self.rested or self._crew.awake > 1 or self._crew.clock() < self._since + after:
            return False
        self.rested = True
        return True

    def left(self, after: float) -> float:
        """Return in how many seconds to ask again, if it was too early; more than 0."""
        left = self._since + after - self._crew.clock()
        # While others work, the spell has not begun.
        return after if self._crew.awake > 1 or left <= 0 else left
