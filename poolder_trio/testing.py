"""What tests of code that uses poolder_trio need."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import trio

from poolder_trio.policies import checks
from poolder_trio.policies.dispatch import MODES
from poolder_trio.policies.instants import in_utc

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from hypothesis.strategies import SearchStrategy
    from typing_extensions import Self

    from poolder_trio.kernel.wall import Clock

__all__ = ["CancelAt", "jobs", "modes", "wall_clock"]


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


def modes() -> SearchStrategy[str]:
    """Return a Hypothesis strategy for the names of a pool's modes."""
    from hypothesis import strategies  # noqa: PLC0415  # only tests have it

    return strategies.sampled_from(MODES)


def jobs() -> SearchStrategy[object]:
    """Return a Hypothesis strategy for messages that every mode can route."""
    from hypothesis import strategies as st  # noqa: PLC0415  # only tests have it

    keys = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.binary())
    return st.one_of(keys, st.tuples(keys, keys))


def wall_clock(start: datetime) -> Clock:
    """Return a ``clock`` for components under test, which shows ``start`` and the time since.

    It goes as Trio's clock does, so that under a ``MockClock`` a year passes in a second::

        async def test_a_year(autojump_clock):
            clock = wall_clock(datetime(2024, 1, 1, tzinfo=timezone.utc))
            async with JobPool(clock=clock) as pool:
                await pool.perform_at(time(3), clean_up)
                await trio.sleep(366 * 24 * 3600)

    Args:
        start: an aware datetime: what it shows when it is made, or, if that is outside of a Trio
            run, when it is first read.

    Raises:
        TypeError, ValueError: ``start`` is something else, or naive.
    """
    shown = in_utc("start", start, "wall_clock")
    since = trio.current_time() if trio.lowlevel.in_trio_run() else None

    def clock() -> datetime:
        nonlocal since
        if since is None:
            since = trio.current_time()
        return shown + timedelta(seconds=trio.current_time() - since)

    return clock
