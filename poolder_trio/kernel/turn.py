"""A lock whose holder can be asked for, and which costs nothing while nobody wants it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


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
        self._waiting: OrderedDict[trio.lowlevel.Task, object] = OrderedDict()

    @trio.lowlevel.enable_ki_protection
    async def take(self, who: object) -> None:
        """Wait for the turn. Cancelled, it has not got it."""
        if self.holder is None:
            self.holder = who
            return
        task = trio.lowlevel.current_task()
        self._waiting[task] = who

        def abort(_: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
            del self._waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    @trio.lowlevel.enable_ki_protection
    def give(self) -> None:
        """Let the next have it."""
        if self._waiting:
            task, self.holder = self._waiting.popitem(last=False)
            trio.lowlevel.reschedule(task, outcome.Value(None))
        else:
            self.holder = None
