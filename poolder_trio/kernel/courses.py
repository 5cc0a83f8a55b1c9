"""When a scheduled job fires, by the clock that it goes by."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import trio

from poolder_trio.policies.beat import beat, beats
from poolder_trio.policies.halving import last_firing
from poolder_trio.policies.instants import LAST, in_utc
from poolder_trio.policies.passing import passed

if TYPE_CHECKING:
    from poolder_trio.abc import Trigger
    from poolder_trio.policies.triggers import Every


class Beats:
    """The course of an interval that counts from when it was scheduled, by Trio's clock."""

    __slots__ = ("_anchor", "_every")

    def __init__(self, every: Every, anchor: float) -> None:
        self._every = every
        self._anchor = anchor

    def step(self, after: float) -> float:
        """Return the first firing after a moment."""
        return beat(self._every, self._anchor, after)

    def passed(self, after: float, until: float) -> tuple[int, float]:
        """Return how many firings are after ``after``, up to ``until``; and ``until``."""
        every, anchor = self._every, self._anchor
        return beats(every, anchor, until) - beats(every, anchor, after), until

    def last(self, at: float, until: float) -> float:
        """Return the last firing up to ``until``, given one that is not after it."""
        return last_firing(partial(beat, self._every, self._anchor), at, until)


class Dates:
    """The course of a trigger that goes by the wall clock."""

    __slots__ = ("_trigger",)

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def step(self, after: float) -> float:
        """Return the first firing after a moment; ``math.inf``: never again."""
        return next_date(self._trigger, after)

    @trio.lowlevel.disable_ki_protection
    def passed(self, after: float, until: float) -> tuple[int, float] | None:
        """Return how many firings are after ``after``, and up to when they were counted."""
        found = passed(self._trigger, date_of(after), date_of(until))
        if found is None:
            return None
        count, reached = found
        return count, min(until, reached.timestamp())

    @trio.lowlevel.disable_ki_protection
    def last(self, at: float, until: float) -> float:
        """Return the last firing up to ``until``, given one that is not after it."""
        # By dates, for the middle between two numbers may be no moment that a date can tell.
        return last_firing(self._trigger.next, date_of(at), date_of(until)).timestamp()


@trio.lowlevel.disable_ki_protection
def next_date(trigger: Trigger, after: float) -> float:
    """Return the first firing after a moment; ``math.inf``: never again.

    Raises:
        Exception: what the trigger raised; or it returned what no trigger may return.
    """
    following = trigger.next(date_of(after))
    return math.inf if following is None else later(following, after, trigger)


def later(following: datetime, due: float, trigger: Trigger) -> float:
    """Return ``following`` in seconds, or raise if no trigger may return it."""
    seconds = in_utc("next(after)", following, type(trigger).__name__).timestamp()
    if seconds <= due:
        raise ValueError(
            f"next(after) must return a date after {date_of(due)}, got {following} "
            f"({type(trigger).__name__})"
        )
    return seconds


def date_of(seconds: float) -> datetime:
    """Return a moment as a date, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except ValueError:  # rounded up, beyond the last microsecond that there is
        return LAST
