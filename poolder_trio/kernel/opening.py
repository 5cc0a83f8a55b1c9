"""The opening of a component: what `cancel()` cuts, and who would wait for it from inside."""

from __future__ import annotations

import trio

from poolder_trio.kernel import inside


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
        self._outer = len(self._task.child_nurseries)

    def is_here(self) -> bool:
        """Tell whether the opening waits for the code that asks.

        That is its own task, or one under a nursery that was opened since: a task that somebody
        started in a nursery around all of this is waited for by others.
        """
        return inside.awaited_by(self._task, self._outer)
