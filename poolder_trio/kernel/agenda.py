"""Any number of things to be done by a clock, one heap and one alarm for all of them."""

from __future__ import annotations

import heapq
import itertools
import math
from time import perf_counter
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from poolder_trio.kernel.pace import pace_here
from poolder_trio.policies.slices import SLICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.kernel.timers import Timer, Timers


class Entry(Protocol):
    """What stands on an agenda."""

    #: Says which of its places in the heap is the valid one; 0: none.
    ticket: int


E = TypeVar("E", bound=Entry)

#: One for all agendas, so that an entry that moves to another is not taken for one that stayed.
_tickets = itertools.count(1)
#: Seconds by which clocks are corrected without anybody's notice.
_STEP = 1.0
#: Where Vixie cron draws the line, too: a clock that is set back by less than these seconds shows
#: some time twice; by more, it was wrong before.
WRONG_CLOCK = 3 * 3600.0


class Agenda(Generic[E]):
    """Rings each entry when it is due, by any clock; it is looked at on Trio's.

    An entry that is moved or dropped leaves its old place in the heap behind. Such stale places
    are skipped when they are met, and swept out when they outweigh the others.

    Args:
        timers: where the one alarm is set.
        now: returns the time, in seconds.
        trusted: returns how many of some seconds may pass before ``now`` is asked again.
        ring: called with an entry, when it was due, and the time; returns when it is due next;
            ``math.inf``: never. It must not raise.
        set_back: called with the time, and how many seconds the clock is behind the latest time
            that it showed, when it is found to have been set back; it may put and drop entries.
    """

    __slots__ = (
        "_alarm",
        "_heap",
        "_latest",
        "_now",
        "_pace",
        "_ring",
        "_rings_at",
        "_seen",
        "_set_back",
        "_stale",
        "_timers",
        "_trusted",
    )

    def __init__(
        self,
        timers: Timers,
        now: Callable[[], float],
        trusted: Callable[[float], float],
        ring: Callable[[E, float, float], float],
        set_back: Callable[[float, float], None] | None = None,
    ) -> None:
        self._timers = timers
        self._set_back = set_back
        self._now = now
        self._trusted = trusted
        self._ring = ring
        self._pace = pace_here()()
        self._heap: list[tuple[float, int, E]] = []
        self._stale = 0
        self._alarm: Timer | None = None
        #: What the first of the heap was due when the alarm was set.
        self._rings_at = math.inf
        #: By how much the clock was before Trio's at most, since it was last found set back.
        self._seen = math.nan
        #: The latest time that it showed before it was set back.
        self._latest = -math.inf

    @trio.lowlevel.enable_ki_protection
    def put(self, entry: E, due: float) -> None:
        """Ring ``entry`` at ``due``, and not when it was to ring before."""
        if entry.ticket:
            self.drop(entry)
        if due == math.inf:
            return
        entry.ticket = ticket = next(_tickets)
        heapq.heappush(self._heap, (due, ticket, entry))
        if due < self._rings_at:
            self._set_alarm()

    @trio.lowlevel.enable_ki_protection
    def drop(self, entry: E) -> None:
        """Ring ``entry`` no more; nothing happens if it does not stand here."""
        if not entry.ticket:
            return
        entry.ticket = 0
        self._stale += 1
        if self._stale > 16 + len(self._heap) // 2:
            self._heap = [place for place in self._heap if place[2].ticket == place[1]]
            heapq.heapify(self._heap)
            self._stale = 0

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Drop everything."""
        for _, _, entry in self._heap:
            entry.ticket = 0
        self._heap.clear()
        self._stale = 0
        self._set_alarm()

    def _set_alarm(self, earliest: float = -math.inf) -> None:
        """Let the clock be looked at when the first of the heap is due.

        Args:
            earliest: not before this, in seconds of Trio's clock.
        """
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._heap:
            self._rings_at = math.inf
            return
        now, trio_now = self._now(), trio.current_time()
        self._notice(now, trio_now)
        self._rings_at = math.inf
        if self._heap:
            self._rings_at = self._heap[0][0]
            wait = self._trusted(max(0.0, self._rings_at - now))
            at = max(earliest, trio_now + wait)
            self._alarm = self._timers.at(at, self._look)

    def _notice(self, now: float, trio_now: float) -> None:
        """Compare the clock with what was seen of it, and say so if it was set back.

        Whoever reads the clock to set the alarm has to ask here: what was seen is the only trace
        that a set-back leaves. Corrections that go unnoticed stay in it, and so add up.
        """
        ahead = now - trio_now
        by = self._seen - ahead
        if self._set_back is None or not by > 0.0:
            self._seen = ahead
        elif by > _STEP:
            self._seen = ahead
            behind = max(self._latest, now + by) - now
            self._latest = -math.inf if behind >= WRONG_CLOCK else now + behind
            self._rings_at = -math.inf  # what is put meanwhile sets no alarm: that comes after it
            self._set_back(now, behind)

    @trio.lowlevel.enable_ki_protection
    def _look(self) -> None:
        """Ring what is due, for no longer than the event loop should be held."""
        self._alarm = None
        self._rings_at = -math.inf  # what is put meanwhile sets no alarm: that comes at the end
        now, pace = self._now(), self._pace
        stride = left = pace.begin(perf_counter(), SLICES["normal"])
        self._notice(now, trio.current_time())
        while self._heap and self._heap[0][0] <= now:
            due, ticket, entry = heapq.heappop(self._heap)
            if entry.ticket != ticket:
                self._stale -= 1
                continue
            following = self._ring(entry, due, now)
            if entry.ticket != ticket:
                continue  # it was moved or dropped, by what it rang
            entry.ticket = 0
            self.put(entry, following)
            left -= 1
            if not left:
                stride = left = pace.next_stride(stride, perf_counter())
                if not left:
                    self._timers.soon(self._look)
                    return
        # Later than this moment, however little: what is due now by Trio's clock is called at
        # once, and a difference of two times may be rounded to nothing.
        self._set_alarm(math.nextafter(trio.current_time(), math.inf))
