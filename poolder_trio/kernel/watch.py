"""Looks after jobs that run too long, with one timer for all of them."""

from __future__ import annotations

import math
import traceback
from typing import TYPE_CHECKING

import trio

from poolder_trio.kernel.notes import shown
from poolder_trio.kernel.seat import Cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.seat import Seat


class Watch:
    """Calls ``act(seat)`` once for each attempt that runs longer than ``limit`` seconds.

    A job that begins after a look cannot be over its limit before ``limit`` seconds have passed
    since that look: looking again then, or when the oldest attempt in hand is due, is enough.
    """

    __slots__ = ("_act", "_armed", "_crew", "_limit", "_over")

    def __init__(self, crew: Crew, limit: float, act: Callable[[Seat], None]) -> None:
        self._crew = crew
        self._limit = limit
        self._act = act
        self._armed = False
        #: The attempts that were over the limit at the last look: seat, and when they began.
        self._over: dict[Seat, float] = {}

    def arm(self) -> None:
        """Begin to look, unless that was done: a worker is about to start jobs."""
        if not self._armed:
            self._armed = True
            self._crew.timers.at(self._crew.clock() + self._limit, self._look)

    @trio.lowlevel.enable_ki_protection
    def _look(self) -> None:
        now = self._crew.clock()
        due = math.inf
        over: dict[Seat, float] = {}
        for seat in self._crew.seats:
            if not seat.busy:
                continue
            end = seat.started + self._limit
            if end <= now:
                over[seat] = seat.started
                if self._over.get(seat) != seat.started:
                    self._act(seat)
            due = min(due, end if end > now else math.inf, now + self._limit)
        self._over = over
        self._armed = due < math.inf
        if self._armed:
            self._crew.timers.at(due, self._look)


def cut(seat: Seat) -> None:
    """Cancel the attempt: it has failed with `JobTimeout`."""
    seat.cut(Cut.TIMEOUT)


def warn(seat: Seat) -> None:
    """Log where a job is that runs too long."""
    if seat.task is None:
        return
    frames = traceback.StackSummary.extract(seat.task.iter_await_frames())
    seat.crew.log.warning(
        "worker=%s job=%s event=overrun\n%s",
        shown(seat.name),
        shown(seat.in_hand()),
        "".join(frames.format()).rstrip(),
    )
