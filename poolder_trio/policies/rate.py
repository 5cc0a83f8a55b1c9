"""At most so many starts in so many seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies import checks

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen
class Rate:
    """So many starts per period, evenly spaced.

    Args:
        count: starts in each period; may be a fraction.
        per: the period, in seconds.
        burst: starts that may come at once after a quiet time; the period in which they fall
            has up to so many more than ``count``.

    The generic cell rate algorithm (ITU-T I.371), anchored on the schedule: a start that comes
    late keeps the slot it was due in, so lateness adds up neither to drift nor to a burst.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    count: float = attrs.field(
        validator=checks.Check(
            "a finite number > 0", checks.is_number, checks.at_least(0, above=True, finite=True)
        ).field
    )
    per: float = attrs.field(default=1.0, validator=checks.FINITE_POSITIVE_SECONDS.field)
    burst: int = attrs.field(default=1, validator=checks.COUNT.field)

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
        only while it is late by less than one space: later ones would follow it in a burst.
        """
        due = now if self._next is None else self._next
        if now > due and not (waited and now - due < self._space):
            due = now
        self._next = due + self._space


RATE = checks.Check(
    "a Rate, a tuple of them, or None",
    lambda v: v is None or isinstance(v, Rate) or _are_rates(v),
)


def _are_rates(value: object) -> bool:
    return (
        isinstance(value, tuple) and all(isinstance(each, Rate) for each in value) and value != ()
    )
