"""The way into a batcher: what is accepted at once, what waits for room, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from poolder_trio.errors import Closed, QueueFull, TooManyRequests
from poolder_trio.kernel import aside, inside
from poolder_trio.kernel.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from poolder_trio.kernel.batches import Batches
    from poolder_trio.policies.queues import Queue


@attrs.frozen
class Entry:
    """What is to be put into a window."""

    item: object
    key: Hashable
    weight: float
    front: bool


class Intake:
    """Keeps the bound of a batcher's queue: how many items may wait, in a window or a batch.

    Args:
        crew: who handles the batches.
        queue: the bound, and what happens beyond it.
        refusal: returns the error for those who push when nothing is accepted.
    """

    __slots__ = ("_crew", "_overflow", "_refusal", "_waiters", "accepting", "max")

    def __init__(self, crew: Batches, queue: Queue, refusal: Callable[[], Closed]) -> None:
        self._crew = crew
        self._overflow = queue.overflow
        self._refusal = refusal
        self._waiters: Waiters[Sequence[Entry]] = Waiters(crew.rearm)
        self.max = queue.max
        self.accepting = True

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiters)

    def is_late(self) -> bool:
        """Tell whether an item comes too late, and is to be abandoned; raise if it is refused."""
        if self.accepting:
            return False
        if self._crew.ended.value or not inside.inside(self._crew):
            raise self._refusal()
        return True

    @trio.lowlevel.enable_ki_protection
    def put_nowait(self, entries: Sequence[Entry]) -> None:
        """Take ``entries`` in, in order, with none between: room for the first is room for all.

        Raises:
            QueueFull: there is no room, and the rule is to wait for it; nothing was taken in.
            TooManyRequests: there is no room, and the rule is to refuse.
            Closed: nothing is accepted.
        """
        self._crew.home.require()
        if self.is_late():
            for entry in entries:
                self._crew.ledger.abandon(entry.item)
            return
        if self._overflow in ("drop_oldest", "drop_newest"):
            for entry in entries:
                self._put_or_drop(entry)
            return
        if self._has_room():
            self._crew.add(entries)
            return
        self._crew.relieve()
        waiting = self._crew.waiting
        if self._overflow == "wait":
            message = f"{waiting} items wait already: await push(), or try again later"
            raise QueueFull(message)
        for entry in entries:
            self._crew.ledger.drop(entry.item, self._overflow, waiting)
        raise TooManyRequests(self._overflow, waited=0.0, waiting=waiting)

    def _put_or_drop(self, entry: Entry) -> None:
        if not self._has_room():
            self._crew.relieve()
            oldest = self._overflow == "drop_oldest"
            victim = self._crew.take_oldest() if oldest else None
            waiting = self._crew.waiting
            if victim is None:
                self._crew.ledger.drop(entry.item, self._overflow, waiting)
                return
            self._crew.ledger.drop(victim, self._overflow, waiting)
        self._crew.add([entry])

    def _has_room(self) -> bool:
        return not self._waiters and self._crew.queued < self.max

    @trio.lowlevel.enable_ki_protection
    async def put(self, entries: Sequence[Entry], what: str) -> None:
        """As `put_nowait`, but wait for room, where that is the rule.

        Raises:
            RuntimeError: a handler waits for room that only itself could make.
        """
        while True:
            try:
                self.put_nowait(entries)
            except QueueFull:
                with inside.waiting_for(self._crew, self._crew.room, what):
                    if await self._waiters.park(entries, front=entries[0].front):
                        return
            else:
                return

    @aside.whole
    def admit(self) -> None:
        """Let those who wait for room in, as far as there is room."""
        while self._waiters and self._crew.queued < self.max:
            self._crew.add(self._waiters.wake(value=True))
        if self._waiters:
            self._crew.relieve()

    @aside.whole
    def shut(self) -> None:
        """Accept no more, and send those who wait for room back to where they came from."""
        self.accepting = False
        while self._waiters:
            self._waiters.wake(value=False)
