"""What becomes of firings that are found overdue: which of them still run."""

from __future__ import annotations

import math
from typing import Protocol

#: Seconds by which floating-point arithmetic on moments is wrong, and more.
_CLOSE = 0.001


class Course(Protocol):
    """When a job fires, in seconds."""

    def step(self, after: float) -> float:
        """Return the first firing after a moment; ``math.inf``: never again."""
        ...

    def passed(self, after: float, until: float) -> tuple[int, float] | None:
        """Return how many firings are after ``after``, and up to when they were counted.

        That is ``until``, or earlier; ``None``: nobody can tell but by steps.
        """
        ...

    def last(self, at: float, until: float) -> float:
        """Return the last firing up to ``until``, given one that is not after it."""
        ...


class Overdue:
    """Firings of one job that are found overdue together, met oldest first, a bit at a time.

    What becomes of one is decided by when they were found, however long it takes to meet them all.
    Those of which nothing but the number matters are counted, where their course can do that.

    Args:
        grace: seconds; a firing that is found later than this is missed.
        coalesce: which of those that are left run: ``"latest"``, ``"earliest"`` or ``"all"``.
        found: when they were found, in seconds.
        due: when the first of them was due.

    Attributes:
        until: the moment up to which firings are met.
        following: the first firing that is not met, when all are that are to be.
        missed: how many do not run.
        since: when the first of those was due.
        refused: how many were to run and could not, because of the runs that there are.
        refused_since: when the first of those was due.
    """

    __slots__ = (
        "_at",
        "_coalesce",
        "_found",
        "_grace",
        "_kept",
        "_reached",
        "following",
        "missed",
        "refused",
        "refused_since",
        "since",
        "until",
    )

    def __init__(self, grace: float, coalesce: str, found: float, due: float) -> None:
        self._grace = grace
        self._coalesce = coalesce
        self._found = self.until = found
        #: The latest that was met by itself.
        self._at = due
        #: All up to this moment were met.
        self._reached = -math.inf
        self._kept: float | None = None
        self.following = math.nan
        self.missed = 0
        self.since = math.nan
        self.refused = 0
        self.refused_since = math.nan

    def meet(self, due: float) -> float | None:
        """Take in the firing due at ``due``; return it if it is to run at once."""
        self._at = self._reached = due
        if self._coalesce == "latest" or self._is_late(due) or self._kept is not None:
            self._miss(due)  # of the latest, `end` says which it was
            return None
        if self._coalesce == "earliest":
            self._kept = due
            return None
        if self.refused:  # it meets the same runs, for they were found together
            self.refused += 1
            return None
        return due

    def refuse(self, due: float) -> None:
        """Note that one which was to run could not."""
        if not self.refused:
            self.refused_since = due
        self.refused += 1

    def go_on(self, course: Course) -> tuple[bool, float | None]:
        """Meet the next, or count some: return whether there were, and one that is to run at once.

        Each call takes one step of the course, or counts once.
        """
        if self._reached >= self.until:
            self.following = course.step(self.until)
            return False, None
        limit = self._alike_until()
        if limit > self._reached:
            counted = course.passed(self._reached, limit)
            if counted is not None:
                self._pass_over(*counted)
                return True, None
        following = course.step(self._reached)
        if following > self.until:
            self.following = following
            return False, None
        return True, self.meet(following)

    def cut(self, now: float) -> None:
        """Meet none after ``now``: the clock was set back to it."""
        self.until = min(self.until, now)

    def end(self, course: Course) -> float | None:
        """Return the one that is to run of all that were met, beside those that ran at once."""
        if self._coalesce == "latest":
            last = self._at
            if last < self._reached:
                last = course.last(last, self._reached)
            if not self._is_late(last):
                self.missed -= 1
                return last
        return self._kept

    def give_up(self) -> None:
        """Let none of those that were met run that has not."""
        if self._kept is not None:
            self.since = self._kept if not self.missed else min(self.since, self._kept)
            self.missed += 1
            self._kept = None

    def _alike_until(self) -> float:
        """Return up to when it is the same what becomes of each."""
        if self._coalesce == "latest" or self.refused or (self._kept is not None and self.missed):
            return self.until
        if self._kept is not None:  # the next is the first that is missed: that one is told
            return -math.inf
        return min(self.until, self._found - self._grace - _CLOSE)

    def _pass_over(self, count: int, reached: float) -> None:
        self._reached = reached
        if self.refused:
            self.refused += count
        else:
            self.missed += count

    def _is_late(self, due: float) -> bool:
        return self._found - due > self._grace

    def _miss(self, due: float) -> None:
        if not self.missed:
            self.since = due
        self.missed += 1
