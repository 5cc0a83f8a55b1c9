"""What becomes of firings that are found overdue: which of them still run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from poolder_trio.policies.halving import last_firing

if TYPE_CHECKING:
    from collections.abc import Callable

#: So many firings are looked at one by one; that takes about a second of processor time.
_MOST = 10_000


class Overdue:
    """Several firings of one job, met one after the other, oldest first.

    Args:
        grace: seconds; a firing that is later than this is missed.
        coalesce: which of those that are left run: ``"latest"``, ``"earliest"`` or ``"all"``.

    Attributes:
        missed: how many do not run.
        since: when the first of those was due.
        refused: how many were to run and could not, beside the runs that there were.
        refused_since: when the first of those was due.
    """

    __slots__ = (
        "_coalesce",
        "_grace",
        "_kept",
        "missed",
        "refused",
        "refused_since",
        "since",
    )

    def __init__(self, grace: float, coalesce: str) -> None:
        self._grace = grace
        self._coalesce = coalesce
        self._kept: float | None = None
        self.missed = 0
        self.since = math.nan
        self.refused = 0
        self.refused_since = math.nan

    def meet(self, due: float, now: float) -> float | None:
        """Take in the firing due at ``due`` (seconds, as ``now``); return it if it is to run now.

        One that may yet give way to a later one is kept: see `last`.
        """
        if now - due > self._grace:
            self._miss(due)
            return None
        if self._coalesce == "all":
            return due
        if self._kept is None:
            self._kept = due
        elif self._coalesce == "earliest":
            self._miss(due)
        else:
            self._miss(self._kept)
            self._kept = due
        return None

    def refuse(self, due: float) -> None:
        """Note that one which was to run at once could not."""
        if not self.refused:
            self.refused_since = due
        self.refused += 1

    @property
    def tiring(self) -> bool:
        """Whether so many were met that the others are to be passed over with `pass_over`."""
        return self._coalesce != "all" and self.missed >= _MOST

    def pass_over(self, step: Callable[[float], float], due: float, now: float) -> float:
        """Return which firing to meet after many: those in between are missed, and not counted.

        Args:
            step: returns the first firing after a moment, in seconds.
            due: when the next one was due; it is overdue.
            now: the time.
        """
        if self._coalesce == "earliest" and self._kept is None:
            # Dates are of whole microseconds: one more, or the rounded moment is not before it.
            return max(due, step(now - self._grace - 1e-6))
        return last_firing(step, due, now)

    def last(self) -> float | None:
        """Return the one that is to run of those met, unless each was returned at once."""
        return self._kept

    def _miss(self, due: float) -> None:
        if not self.missed:
            self.since = due
        self.missed += 1
