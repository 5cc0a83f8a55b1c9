"""Tasks that wait: noted, parked, and noted no more when they are aborted, in one step."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import outcome
import trio

from poolder_trio.kernel import aside

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@trio.lowlevel.enable_ki_protection
async def parked(
    enter: Callable[[trio.lowlevel.Task], object], leave: Callable[[trio.lowlevel.Task], bool]
) -> Any:  # noqa: ANN401  # whatever it is woken with
    """Note that this task waits, and wait until it is rescheduled.

    Ctrl-C finds it either not noted or parked. A task that was noted and is dead, since Ctrl-C has
    come in between, would be rescheduled all the same, and Trio would break.

    Args:
        enter: notes the task with whoever will reschedule it.
        leave: called if the task is aborted: takes it off again. ``False``: it has to stay.
    """
    task = trio.lowlevel.current_task()
    enter(task)

    def abort(_: object) -> trio.lowlevel.Abort:
        with aside.ABORT:
            left = leave(task)
        return trio.lowlevel.Abort.SUCCEEDED if left else trio.lowlevel.Abort.FAILED

    try:
        return await trio.lowlevel.wait_task_rescheduled(abort)
    finally:
        aside.flush()


def _nothing() -> None:
    pass


class Waiters(Generic[T]):
    """Tasks that wait in line, and what each waits with.

    Args:
        changed: called when a task has begun to wait, or was aborted.
    """

    __slots__ = ("_changed", "_tasks")

    def __init__(self, changed: Callable[[], object] = _nothing) -> None:
        self._tasks: OrderedDict[trio.lowlevel.Task, T] = OrderedDict()
        self._changed = changed

    def __len__(self) -> int:
        return len(self._tasks)

    async def park(self, what: T, *, front: bool = False) -> Any:  # noqa: ANN401  # see `parked`
        """Wait behind the others, or before them, and return what `wake` says."""

        def enter(task: trio.lowlevel.Task) -> None:
            self._tasks[task] = what
            if front:
                self._tasks.move_to_end(task, last=False)
            self._changed()

        return await parked(enter, self._leave)

    def _leave(self, task: trio.lowlevel.Task) -> bool:
        del self._tasks[task]
        self._changed()
        return True

    @trio.lowlevel.enable_ki_protection
    def wake(self, value: object = None) -> T:
        """Let the first in line go on with ``value``; return what it waited with."""
        task, what = self._tasks.popitem(last=False)
        trio.lowlevel.reschedule(task, outcome.Value(value))
        return what
