"""A waiting room whose jobs may be dropped for their age."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from poolder_trio.errors import QueueFull, TooManyRequests
from poolder_trio.kernel import aside
from poolder_trio.kernel.mailbox import Mailbox
from poolder_trio.policies.aged import Aged
from poolder_trio.policies.shared_room import Part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Job
    from poolder_trio.kernel.terms import Terms
    from poolder_trio.kernel.timers import Timer
    from poolder_trio.policies.aged import Drop
    from poolder_trio.policies.queues import Queue


def mailbox(crew: Crew, queue: Queue, *, paused: bool = False) -> Mailbox:
    """Return a mailbox of the kind that ``queue`` needs."""
    kind = AgedMailbox if queue.ages else Mailbox
    return kind(crew, queue, paused=paused)


class AgedMailbox(Mailbox):
    """Looks at ages when a job comes, is taken or withdrawn, and when one timer says so.

    The timer is set while `Queue.min` and the ages allow a drop. It is left alone when what it was
    set for has gone: it then looks once in vain, which costs less than to set it for each job.
    """

    __slots__ = ("_aged", "_due", "_timer")

    def __init__(self, crew: Crew, queue: Queue, *, paused: bool = False) -> None:
        super().__init__(crew, queue, paused=paused)
        assert isinstance(self.room, Aged)
        self._aged: Aged = self.room
        self._timer: Timer | None = None
        self._due = math.inf
        if isinstance(self._aged, Part):
            self._aged.told = self._told
            self._aged.admit = self._admit_own

    # -- the drops

    @aside.whole
    def _told(self, drops: Sequence[Drop]) -> None:
        """Enter what was dropped here while others looked."""
        self._after(drops, trio.current_time())

    def _admit_own(self) -> None:
        """Let waiters in here, because others have left room."""
        if self.open:
            super().admit()

    @trio.lowlevel.enable_ki_protection
    def admit(self) -> None:
        """Let waiters in as far as there is room, here and in other parts of the same room."""
        super().admit()
        self._aged.freed()

    @trio.lowlevel.enable_ki_protection
    def _look(self) -> None:
        """Drop what is due."""
        now = trio.current_time()
        self._after(self._aged.age(now), now)

    @aside.whole
    def _after(self, drops: Sequence[Drop], now: float) -> None:
        """Enter what was dropped, and let others have the places."""
        self._set_timer(now)
        if drops:
            self.crew.ledger.shed(drops, len(self.room))
            self.admit()
            # With a rate, or paused, workers rest while jobs wait: these may have been the last.
            self.crew.check_idle()

    def _set_timer(self, now: float) -> None:
        """See to it that there is a look when the next one is due."""
        due = self._aged.next_expiry(now)
        if due < self._due and self.open:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self.crew.timers.at(due, self._time_is_up)

    @aside.whole
    def _time_is_up(self) -> None:
        self._timer, self._due = None, math.inf
        self._look()

    # -- where there is something to look at

    def _let_wait(self, item: object, terms: Terms) -> None:
        now = trio.current_time()
        drops = self._aged.arrive(item, now, key=terms.key, priority=terms.priority)
        # A rule that refuses drops nothing else.
        refused = bool(drops) and drops[-1].rule == self.room.overflow
        if refused and self.room.overflow == "wait":
            self._after(drops[:-1], now)
            raise QueueFull(self._full())
        self._after(drops, now)
        if refused and self.room.overflow == "reject":
            raise TooManyRequests(self.room.overflow, waited=0.0, waiting=len(self.room))

    def require_room(self) -> None:
        """Raise `QueueFull` unless there is room for one more."""
        self._look()
        super().require_room()

    @trio.lowlevel.enable_ki_protection
    def restore(self, item: object) -> None:
        """Take in an item that was accepted before, whatever the bound; its age begins anew."""
        super().restore(item)
        self._set_timer(trio.current_time())

    def _take_back(self, item: object) -> None:
        super()._take_back(item)
        self._set_timer(trio.current_time())

    def _take(self) -> object:
        now = trio.current_time()
        drops = self._aged.age(now)
        if drops:
            self._after(drops, now)
        if not len(self._aged):
            self._aged.get(now)  # so that it knows that a worker found nothing
        item = super()._take()
        self._set_timer(now)
        return item

    def start_one(self) -> bool:
        """Hand the next waiting item to a free worker, if there are both."""
        self._look()
        return super().start_one()

    @trio.lowlevel.enable_ki_protection
    def start_all(self) -> None:
        """Start what waits, as far as workers are free."""
        self._look()
        super().start_all()

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End a job that waits here."""
        super().withdraw(job)
        self._look()
        return True

    @trio.lowlevel.enable_ki_protection
    def close(self) -> list[object]:
        """Take in no more; return what waits, in order. Those who wait for room are sent away."""
        if self._timer is not None:
            self._timer.cancel()
        return super().close()
