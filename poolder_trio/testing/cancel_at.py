"""A scope that is cancelled at any step one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from poolder_trio.policies import checks

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["CancelAt"]


class CancelAt(trio.abc.Instrument):
    """A scope that is cancelled just before the n-th scheduler step after its entry.

    A step is one task's run from one checkpoint to the next. Cancelling a block at every step
    shows what it leaves behind, wherever it is cut::

        for step in itertools.count(1):
            with CancelAt(step) as cut:
                await the_block()
            assert nothing_is_lost()
            if not cut.reached:
                break

    Args:
        step: the number of the step, from 1.

    Attributes:
        steps: how many steps began while the block ran.
        reached: whether the block lasted until step ``step``, and so was cancelled.

    Raises:
        TypeError, ValueError: ``step`` is no int, or less than 1.
    """

    def __init__(self, step: int) -> None:
        checks.COUNT("step", step, "CancelAt")
        self.step = step
        self.steps = 0
        self.reached = False
        self._scope = trio.CancelScope()

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        trio.lowlevel.remove_instrument(self)
        return self._scope.__exit__(exc_type, exc, traceback)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Count a step; Trio calls this."""
        self.steps += 1
        if self.steps == self.step:
            self.reached = True
            self._scope.cancel()
