"""Controlled delay: dropping the oldest, ever faster, until what waits is served in time again.

After K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012. This differs:

- Arrivals and timers look at the oldest item and drop it, too; it need not be taken out first.
- Once one drop was due, all that are due by the same moment follow, without a further look at ages.
- A pause of fewer than 8 intervals resumes near the old rate (the paper says 16), from a count
  that is lower by 2, and only if that had grown beyond 2.
- Only somebody who takes ends the dropping; that drops emptied the room does not.
"""

from __future__ import annotations

import enum
import math

import attrs

from poolder_trio.policies import checks


@attrs.frozen
class CoDel:
    """Describes a bound on how long jobs wait, which gives way to bursts but not to overload.

    While the oldest job has waited for ``target`` or longer for a whole ``interval``, the oldest is
    dropped; and another one ever sooner after, until workers keep up. A long queue that is gone
    within an interval costs nothing.

    After K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012.

    Args:
        target: seconds that it is all right to wait.
        interval: seconds for which it may be longer: some time in which bursts are worked off.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    target: float = attrs.field(default=0.1, validator=checks.FINITE_SECONDS.field)
    interval: float = attrs.field(default=1.0, validator=checks.FINITE_POSITIVE_SECONDS.field)


class Phase(enum.Enum):
    """What a `Control` is at."""

    IDLE = enum.auto()
    #: The oldest item is late; dropping begins if one still is when the interval is over.
    WATCHING = enum.auto()
    DROPPING = enum.auto()


class Control:
    """The controller of one room: told of the oldest item, it says whether that is to be dropped.

    Where times and ``interval`` are whole numbers, so are the times of drops, rounded down.
    """

    __slots__ = ("_count", "_first", "_interval", "_next", "_phase", "_target")

    def __init__(self, rule: CoDel) -> None:
        self._target = rule.target
        self._interval = rule.interval
        self._phase = Phase.IDLE
        #: When the first drop may be.
        self._first: float = 0
        #: When the next drop is due; remembered when dropping ends, as is how many there were.
        self._next: float = 0
        self._count = 0

    def is_late(self, since: float, now: float) -> bool:
        """Tell whether what came at ``since`` has waited for too long."""
        return now >= since + self._target

    def drop(self, since: float, now: float) -> bool:
        """Tell whether the oldest, which came at ``since``, is to be dropped. It counts as dropped.

        If it is, `drop_another` is to be asked next.
        """
        if not self.is_late(since, now):
            return False
        if self._phase is Phase.DROPPING:
            return self.drop_another(now)
        if self._phase is Phase.IDLE:
            self._phase = Phase.WATCHING
            self._first = now + self._interval
            return False
        if now < self._first:
            return False
        self._phase = Phase.DROPPING
        resumes = self._count > 2 and now - self._next < 8 * self._interval  # noqa: PLR2004
        self._count = self._count - 2 if resumes else 1
        self._next = self._after(now)
        return True

    def drop_another(self, now: float) -> bool:
        """Tell whether one more is to be dropped, after one just was; it counts as dropped."""
        if now < self._next:
            return False
        self._count += 1
        self._next = self._after(self._next)
        return True

    def _after(self, last: float) -> float:
        wait = self._interval / math.sqrt(self._count)
        if isinstance(last, int) and isinstance(self._interval, int):
            return last + max(1, int(wait))
        return last + wait

    def relax(self) -> None:
        """Note that somebody who takes found no delay: stop, and remember how fast it was."""
        self._phase = Phase.IDLE

    def next_look(self, since: float) -> float:
        """Return when `drop` is to be asked next, while the oldest is what came at ``since``."""
        late = since + self._target
        if self._phase is Phase.IDLE:
            return late
        return max(late, self._first if self._phase is Phase.WATCHING else self._next)
