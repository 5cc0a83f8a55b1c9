"""The rate of a component: who starts when."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import trio

from poolder_trio.kernel.waiters import parked
from poolder_trio.policies.rate import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolder_trio.kernel.timers import Timer, Timers
    from poolder_trio.policies.rate import Rate


class Starter(Protocol):
    """Who has something to start."""

    def start_one(self) -> bool:
        """Start one job; return whether there was one to start."""
        ...


class Turn:
    """A task that waits to start something."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def start_one(self) -> bool:
        """Let the task go on."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        return task is not None

    async def wait(self) -> None:
        """Wait to be started."""
        await parked(self._enter, self._leave)

    def _enter(self, task: trio.lowlevel.Task) -> None:
        self._task = task

    def _leave(self, _: trio.lowlevel.Task) -> bool:
        self._task = None
        return True


class Gate:
    """Lets starts through at a rate. What waits for a slot stays where it is, and can be withdrawn.

    So a job that is taken back uses no slot, and the order in which jobs wait stays the queue's.
    """

    __slots__ = ("_opening", "_ready", "_slots", "_timer", "_timers")

    def __init__(self, rate: Rate | Sequence[Rate], timers: Timers) -> None:
        self._slots = build(rate)
        self._timers = timers
        self._timer: Timer | None = None
        self._opening = False
        #: Those who could start something, in the order in which they may.
        self._ready: OrderedDict[Starter, None] = OrderedDict()

    @trio.lowlevel.enable_ki_protection
    def enter(self, starter: Starter, *, waited: bool = False) -> bool:
        """Use a slot if one is open; else have ``starter`` called when its turn comes.

        Args:
            starter: who has something to start.
            waited: whether that was there before, so that its start may come late.
        """
        now = trio.current_time()
        if not self._ready and not self._opening and self._slots.next(now) <= now:
            self._slots.take(now, waited=waited)
            return True
        self._ready.setdefault(starter)
        self._wake_at(self._slots.next(now))
        return False

    @trio.lowlevel.enable_ki_protection
    async def turn(self) -> None:
        """Wait for a slot, and use it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        turn = Turn()
        if self.enter(turn):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await turn.wait()

    @trio.lowlevel.enable_ki_protection
    def give_back(self) -> None:
        """Let others have a slot that was used for what did not start."""
        if self._opening:
            return  # it is used only when this start has come
        self._slots.give_back()
        if self._ready:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._wake_at(self._slots.next(trio.current_time()))

    def _wake_at(self, due: float) -> None:
        if self._timer is None and not self._opening:
            self._timer = self._timers.at(due, self._open)

    @trio.lowlevel.enable_ki_protection
    def _open(self) -> None:
        self._timer = None
        now = trio.current_time()
        while self._ready and self._slots.next(now) <= now:
            starter, _ = self._ready.popitem(last=False)
            # What is let into the room while this one starts must not use the same slot.
            self._opening = True
            started = starter.start_one()
            self._opening = False
            if started:
                self._slots.take(now, waited=True)
                self._ready.setdefault(starter)
        if self._ready:
            self._wake_at(self._slots.next(now))
