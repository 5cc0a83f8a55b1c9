"""The opening of a component: what `cancel()` cuts, and who would wait for it from inside."""

from __future__ import annotations

import trio


class Opening:
    """One entering of a component, from its first step until the block begins.

    Attributes:
        scope: is around the component's whole life, and is cancelled only while this lasts.
        over: set when this has ended, in whatever way.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self._task = trio.lowlevel.current_task()
        self._outer = tuple(self._task.child_nurseries)

    def is_here(self) -> bool:
        """Tell whether the opening waits for the code that asks.

        That is its own task, or one under a nursery that was opened since: a task that somebody
        started in a nursery around all of this is waited for by others.
        """
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        below: trio.Nursery | None = None
        while task is not None and task is not self._task:
            below = task.parent_nursery
            task = None if below is None else below.parent_task
        return task is not None and not any(below is outer for outer in self._outer)
