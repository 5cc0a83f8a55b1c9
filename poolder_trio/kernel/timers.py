"""One task and one heap for any number of timers."""

from __future__ import annotations

import heapq
import itertools
import math
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from poolder_trio.kernel.pace import pace_here
from poolder_trio.policies.slices import SLICES

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """A call that is due at a time of Trio's clock."""

    __slots__ = ("_timers", "due", "fn")

    def __init__(self, timers: Timers, due: float, fn: Callable[[], object]) -> None:
        self._timers = timers
        self.due = due
        self.fn: Callable[[], object] | None = fn

    def cancel(self) -> None:
        """Do not call; nothing happens if that was done already."""
        if self.fn is not None:
            self.fn = None
            self._timers.forgot_one()


class Timers:
    """Calls sync functions at their times. Its task starts with the first timer."""

    __slots__ = ("_cancelled", "_heap", "_life", "_numbers", "_nursery", "_pace", "_sleep", "_soon")

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._pace = pace_here()()
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._life: trio.CancelScope | None = None
        self._sleep = trio.CancelScope()
        self._soon: list[Callable[[], object]] = []

    @trio.lowlevel.enable_ki_protection
    def at(self, due: float, fn: Callable[[], object]) -> Timer:
        """Call ``fn()``, which must not raise, once Trio's clock shows ``due`` (seconds)."""
        timer = Timer(self, due, fn)
        heapq.heappush(self._heap, (due, next(self._numbers), timer))
        if self._life is None:
            self._life = trio.CancelScope()
            start = partial(self._nursery.start_soon, name="poolder_trio timers")
            # It outlives whoever sets the first timer, and holds on to nobody's context.
            Context().run(start, self._run, self._life)
        elif due < self._sleep.deadline:
            # The sleeper's deadline moves: nothing wakes it only to let it sleep less.
            self._sleep.deadline = due
        return timer

    def soon(self, fn: Callable[[], object]) -> None:
        """Call ``fn()``, which must not raise, in the next pass; said by what is called here."""
        self._soon.append(fn)

    @trio.lowlevel.enable_ki_protection
    def forgot_one(self) -> None:
        """Sweep the heap when cancelled timers outweigh the others."""
        self._cancelled += 1
        if self._cancelled > 16 + len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].fn is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Abandon every timer and end the task."""
        self._heap.clear()
        if self._life is not None:
            self._life.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _run(self, life: trio.CancelScope) -> None:
        with life:
            while True:
                deadline = self._fire()
                if self._soon or deadline == -math.inf:
                    await trio.lowlevel.checkpoint()
                    self._go_on()
                    continue
                with trio.CancelScope(deadline=deadline) as self._sleep:
                    await trio.sleep_forever()

    @trio.lowlevel.enable_ki_protection
    def _go_on(self) -> None:
        calls, self._soon = self._soon, []
        for fn in calls:
            fn()

    @trio.lowlevel.enable_ki_protection
    def _fire(self) -> float:
        """Call what is due, and return when the next timer is; ``-math.inf``: others are first."""
        now, pace = trio.current_time(), self._pace
        stride = left = pace.begin(perf_counter(), SLICES["normal"])
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.fn is None:
                self._cancelled -= 1
                continue
            fn, timer.fn = timer.fn, None
            fn()
            left -= 1
            if not left:
                stride = left = pace.next_stride(stride, perf_counter())
                if not left:
                    return -math.inf
        return self._heap[0][0] if self._heap else math.inf
