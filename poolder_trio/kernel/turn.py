"""A lock whose holder can be asked for, and which costs nothing while nobody wants it."""

from __future__ import annotations

import trio

from poolder_trio.kernel.waiters import Waiters


class Turn:
    """Has one holder at a time; those who wait get it in the order in which they came.

    It is held for a handler of somebody else's, so it is known by whom: a handler that would wait
    for its own turn can be told. Unlike `trio.Lock`, a turn that is free is taken without a
    checkpoint: who takes it runs user code next, or does not wait while it has it.

    Attributes:
        holder: whose turn it is, or ``None``.
    """

    __slots__ = ("_waiting", "holder")

    def __init__(self) -> None:
        self.holder: object = None
        self._waiting: Waiters[object] = Waiters()

    @trio.lowlevel.enable_ki_protection
    async def take(self, who: object) -> None:
        """Wait for the turn. Cancelled, it has not got it."""
        if self.holder is None:
            self.holder = who
            return
        await self._waiting.park(who)

    @trio.lowlevel.enable_ki_protection
    def give(self) -> None:
        """Let the next have it."""
        self.holder = self._waiting.wake() if self._waiting else None
