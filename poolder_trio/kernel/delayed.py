"""Calls that a pool is to get later: timers that can be read and taken back."""

from __future__ import annotations

import math
from datetime import datetime, time
from typing import TYPE_CHECKING

import trio

from poolder_trio.kernel import aside, inside
from poolder_trio.kernel.agenda import WRONG_CLOCK, Agenda
from poolder_trio.kernel.notes import describe
from poolder_trio.policies.daytime import moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Call
    from poolder_trio.kernel.post import Post
    from poolder_trio.kernel.wall import WallClock


class _Alarm:
    """What stands on an agenda for a timer: its place may stay there for longer than the timer."""

    __slots__ = ("ticket", "timer")

    def __init__(self, timer: Timer) -> None:
        #: Its place on the agenda; 0: it has ended.
        self.ticket = 0
        self.timer: Timer | None = timer


class Timer:
    """A handle on calls that a pool is to get later.

    When its time comes they are sent to the pool, and from then on the timer can do nothing about
    them. If the pool closes first they are abandoned, and are in its report.

    Attributes:
        calls: what is to be called: one, or those of a ``perform_many``.
    """

    __slots__ = ("_alarm", "_asked", "_delayed", "_due", "_end", "calls")

    def __init__(
        self,
        delayed: Delayed,
        due: float | datetime,
        calls: Sequence[Call],
        asked: time | None = None,
    ) -> None:
        self.calls = calls
        #: The time of day that was asked for, if it was one.
        self._asked = asked
        self._delayed = delayed
        #: Seconds of Trio's clock, or a time of the wall clock.
        self._due = due
        self._end = "waiting"
        self._alarm = _Alarm(self)

    def __repr__(self) -> str:
        first = describe(self.calls[0]) if self.calls else "nothing"
        more = f" and {len(self.calls) - 1} more" if len(self.calls) > 1 else ""
        how = f"in {self.remaining():g} s" if self._alarm.ticket else self._end
        return f"<Timer {first}{more}: {how}>"

    def remaining(self) -> float:
        """Return how many seconds are left; 0.0 if it has fired, was cancelled or abandoned."""
        return max(0.0, self._delayed.left(self._due)) if self._alarm.ticket else 0.0

    async def cancel(self) -> float | None:
        """Take the calls back, so that none of them will run; waits for nothing.

        Returns how many seconds were left; ``None`` if that was too late: it has fired, was
        cancelled before, or was abandoned.
        """
        await trio.lowlevel.checkpoint()
        left = self.remaining()
        return left if self._over("cancelled") else None

    def start(self) -> None:
        """Wait for the time."""
        if isinstance(self._due, datetime):
            self._delayed.dates.put(self._alarm, self._due.timestamp())
        else:
            self._delayed.steady.put(self._alarm, self._due)

    def look_again(self) -> None:
        """Wait for the time of day that was asked for: the clock was wrong when it was."""
        if self._asked is not None:
            self._due = self._delayed.date_of(self._asked)
            self.start()

    def ring(self) -> None:
        """Send the calls off: it is time."""
        if self._over("fired"):
            self._delayed.post.accept(self.calls)

    @trio.lowlevel.enable_ki_protection
    def _over(self, end: str) -> bool:
        """Note how it ends; return whether it had not ended before."""
        if not self._alarm.ticket:
            return False
        if isinstance(self._due, datetime):
            self._delayed.dates.drop(self._alarm)
        else:
            self._delayed.steady.drop(self._alarm)
        self._end = end
        self._alarm.timer = None
        del self._delayed.pending[self]
        self._delayed.crew.check_idle()
        return True

    @aside.whole
    def abandon(self) -> None:
        """Enter the calls in the accounts as accepted and never run."""
        self._over("abandoned")
        self._end = "abandoned"
        for call in self.calls:
            self._delayed.crew.ledger.abandon(call)


def _ring(alarm: _Alarm, due: float, now: float) -> float:  # noqa: ARG001  # as an agenda calls it
    if alarm.timer is not None:
        alarm.timer.ring()
    return math.inf


class Delayed:
    """The timers of one opening of a pool.

    What is delayed is no part of the pool's accounts until it is sent, or abandoned.
    """

    __slots__ = ("_wall", "_zone", "crew", "dates", "pending", "post", "steady")

    def __init__(self, crew: Crew, post: Post, wall: WallClock, zone: tzinfo) -> None:
        self.crew = crew
        self.post = post
        self._wall = wall
        self._zone = zone
        self.steady: Agenda[_Alarm] = Agenda(crew.timers, trio.current_time, float, _ring)
        self.dates: Agenda[_Alarm] = Agenda(
            crew.timers, lambda: wall.now().timestamp(), wall.trusted, _ring, self._set_back
        )
        #: In the order in which they were set.
        self.pending: dict[Timer, None] = {}

    def left(self, due: float | datetime) -> float:
        """Return how many seconds are left until ``due``."""
        if isinstance(due, datetime):
            return (due - self._wall.now()).total_seconds()
        return due - trio.current_time()

    def after(self, seconds: float, calls: Sequence[Call]) -> Timer:
        """Send ``calls`` to the pool in ``seconds``."""
        return self._set(Timer(self, trio.current_time() + seconds, calls))

    def at(self, when: datetime | time, calls: Sequence[Call]) -> Timer:
        """Send ``calls`` to the pool at a time of the wall clock: see `moment`."""
        asked = when if isinstance(when, time) else None
        return self._set(Timer(self, self.date_of(when), calls, asked))

    def date_of(self, when: datetime | time) -> datetime:
        """Return the moment that ``when`` means, in UTC: see `moment`."""
        return moment(when, self._wall.now(), self._zone)

    def _set_back(self, now: float, behind: float) -> None:  # noqa: ARG002  # as an agenda calls it
        """Look again when times of day are, if the clock was wrong; dates stay what they are."""
        if behind >= WRONG_CLOCK:
            for timer in self.pending:
                timer.look_again()

    @trio.lowlevel.enable_ki_protection
    def _set(self, timer: Timer) -> Timer:
        if self.post.accepting:
            self.pending[timer] = None
            timer.start()
            return timer
        # As with every submission that comes too late: strangers are told, own jobs go on.
        if self.crew.ended.value or not inside.inside(self.crew):
            self.post.require_accepting()
        timer.abandon()
        return timer

    def timers(self) -> tuple[Timer, ...]:
        """Return the timers that have not fired, the soonest first."""
        return tuple(sorted(self.pending, key=Timer.remaining))

    @aside.whole
    def abandon(self) -> None:
        """Give up every timer that has not fired."""
        for timer in list(self.pending):
            timer.abandon()
