"""At most so many starts in so many seconds."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies import checks

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Seconds by which a start may be late without moving those after it, and what sums of floats are
#: off by.
_LATE = 0.010 + 1e-9


@attrs.frozen
class Rate:
    """So many starts per period, evenly spaced.

    Args:
        count: starts in each period; may be a fraction.
        per: the period, in seconds.
        burst: starts that may come at once after a quiet time; the period in which they fall
            has up to so many more than ``count``.

    The generic cell rate algorithm (ITU-T I.371), anchored on the schedule: a start that comes late
    by up to 10 ms, because the event loop was busy, keeps the slot it was due in, so that a fast
    rate is reached. One that is later moves those after it, so that nothing bursts. So in ``t``
    seconds there are never more than ``burst + (t + 0.01) * count / per`` starts.

    Raises:
        TypeError, ValueError: one of them is wrong, or there is no number for their quotient.
    """

    count: float = attrs.field(
        validator=checks.Check(
            "a finite number > 0", checks.is_number, checks.at_least(0, above=True, finite=True)
        ).field
    )
    per: float = attrs.field(default=1.0, validator=checks.FINITE_POSITIVE_SECONDS.field)
    burst: int = attrs.field(default=1, validator=checks.COUNT.field)

    def __attrs_post_init__(self) -> None:
        space = self.per / self.count
        # A float of this size times an int may raise, where a float would be infinite.
        if not 0 < space < math.inf or self.burst > sys.float_info.max / space:
            times = "" if self.burst == 1 else f", {self.burst} times"
            raise ValueError(
                f"count, per and burst must make a finite number of seconds > 0 between starts, "
                f"got per / count = {space!r}{times} ({self!r})"
            )

    def build(self) -> Slots:
        """Return the schedule of one opening of a component."""
        return Slots(self)


def build(rate: Rate | Sequence[Rate]) -> Slots | Together:
    """Return the schedule of one opening of a component that keeps one rate, or several."""
    return rate.build() if isinstance(rate, Rate) else Together([one.build() for one in rate])


class Together:
    """Several rates at once: a start is due when it is due by each of them."""

    __slots__ = ("_all",)

    def __init__(self, schedules: Sequence[Slots]) -> None:
        self._all = schedules

    def next(self, now: float) -> float:
        """Return when the next start may come: ``now`` or later."""
        return max(each.next(now) for each in self._all)

    def take(self, now: float, *, waited: bool = False) -> None:
        """Use the slot that is open at ``now``; see `Slots.take`."""
        for each in self._all:
            each.take(now, waited=waited)

    def give_back(self) -> None:
        """Undo a `take` whose start did not come."""
        for each in self._all:
            each.give_back()


class Slots:
    """The times at which starts are due."""

    __slots__ = ("_burst", "_next", "_space")

    def __init__(self, rate: Rate) -> None:
        self._space = rate.per / rate.count
        self._burst = self._space * (rate.burst - 1)
        # The theoretical arrival time: when the next start is due if starts come evenly.
        self._next: float | None = None

    def next(self, now: float) -> float:
        """Return when the next start may come: ``now`` or later."""
        if self._next is None:
            return now
        return max(now, self._next - self._burst)

    def take(self, now: float, *, waited: bool = False) -> None:
        """Use the slot that is open at ``now``.

        A start that ``waited`` for its slot and comes late keeps its place in the schedule, but
        only while it is late by no more than the event loop may be: what is later would be
        followed by those after it in a burst.
        """
        due = now if self._next is None else self._next
        if now > due and not (waited and now - due <= _LATE):
            due = now
        self._next = due + self._space

    def give_back(self) -> None:
        """Undo a `take` whose start did not come."""
        assert self._next is not None
        self._next -= self._space


RATE = checks.Check(
    "a Rate, a tuple of them, or None",
    lambda v: v is None or isinstance(v, Rate) or _are_rates(v),
)


def _are_rates(value: object) -> bool:
    return (
        isinstance(value, tuple) and all(isinstance(each, Rate) for each in value) and value != ()
    )
