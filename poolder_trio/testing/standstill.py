"""Notices that nothing will happen any more, in a run that nobody outside can wake."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

import poolder_trio.kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Standstill"]

# Where tasks wait is told by the program's own code, not by ours and Trio's.
_TRIO, _OURS = (Path(trio.__file__).parent, Path(poolder_trio.kernel.__file__).parents[1])
_SHOWN = 20


class Standstill(trio.abc.Instrument):
    """A block that is cancelled when every task waits, and none for a time.

    Raises:
        RuntimeError: (on leaving) that has happened; it says where they waited.
    """

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None
        self._passes = 0
        self._waiting: list[str] = []

    def __enter__(self) -> Self:
        self._scope, self._task = trio.CancelScope(), trio.lowlevel.current_task()
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._scope is not None
        scope, self._scope, self._task = self._scope, None, None
        ended = scope.__exit__(exc_type, exc, traceback)
        if self._waiting and (ended or exc is None or isinstance(exc, Exception)):
            shown = self._waiting[:_SHOWN]
            more = len(self._waiting) - len(shown)
            raise RuntimeError(
                "every task waits, and nothing is due that would go on:"
                + "".join(f"\n  {line}" for line in shown)
                + (f"\n  and {more} more" if more else "")
            )
        return ended

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Note that something happens; Trio calls this."""
        self._passes = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        """Look whether something will happen; Trio calls this."""
        self._passes += 1
        # In the first pass `wait_all_tasks_blocked` may end, and in the second the clock jumps.
        if self._passes <= 2 or self._scope is None or self._task is None:  # noqa: PLR2004
            return
        counts = trio.lowlevel.current_statistics()
        idle = not counts.tasks_runnable and not counts.run_sync_soon_queue_size
        if idle and counts.seconds_to_next_deadline == math.inf:
            if self._waiting:
                _unshield(self._task)  # the run is lost: what holds out against the end goes, too
                return
            self._waiting = sorted(_places(self._task))
            self._scope.cancel()


def _unshield(task: trio.lowlevel.Task) -> None:
    """Let a cancellation from outside reach a task, and all below it."""
    # Trio has no public name for the scopes that a task is in. Without it, shields stay.
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None:
        status._scope.shield = False  # noqa: SLF001  # as above
        status = status.parent
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            _unshield(child)


def _places(task: trio.lowlevel.Task) -> Iterator[str]:
    """Tell where a task and all below it wait."""
    place = ""
    for frame, line in task.iter_await_frames():
        path = Path(frame.f_code.co_filename)
        if not {_TRIO, _OURS} & {*path.parents}:
            place = f", {path}:{line} in {frame.f_code.co_name}"
    yield f"{task.name}{place}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _places(child)
