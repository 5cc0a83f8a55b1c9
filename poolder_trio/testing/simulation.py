"""A run that can be had again: on virtual time, with all that is chance drawn from a seed."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio
from trio.testing import MockClock

from poolder_trio.kernel.notes import add_note
from poolder_trio.kernel.simulated import SIMULATED
from poolder_trio.policies import checks
from poolder_trio.testing.choices import Choices
from poolder_trio.testing.standstill import Standstill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = ["simulate"]

T = TypeVar("T")

_MAIN = checks.Check("an async function that takes no arguments", callable)
_SEED = checks.Check("an int", checks.is_int)


def simulate(main: Callable[[], Awaitable[T]], *, seed: int, until: float = math.inf) -> T:
    """Run ``main`` on virtual time and return what it returns; the same seed is the same run.

    It takes the place of ``trio.run``. Time passes as soon as nothing else is to be done, and
    whatever would be chance is drawn from the seed: the order in which Trio runs tasks, random
    modes, jitter, and what the program draws from ``random``. So a run that fails can be had again,
    to the step, in another process as well, and a loop over seeds tries other orders::

        for seed in range(100):
            simulate(main, seed=seed)

    Functions for threads and processes are called where they stand. Without a ``clock``, what goes
    by dates begins at 2000-01-01 in UTC. What comes from elsewhere is no part of a simulation:
    sockets, subprocesses, threads of one's own, the machine's clock, ``os.urandom`` (``uuid4``,
    ``secrets``), the order of a set.

    Args:
        main: an async function that takes no arguments.
        seed: an int.
        until: seconds of virtual time after which ``main`` is cancelled.

    Raises:
        TypeError, ValueError: an argument is wrong; in ``main``: a state is opened that is not
            kept in memory.
        trio.TooSlowError: ``main`` was not over by then.
        RuntimeError: every task waits, and nothing is due that would go on; or this is called
            from inside a Trio run, or while another simulation runs in this process, or Trio is
            of a release whose choices can't be drawn.

    What ``main`` raises has a note that names the seed.
    """
    _MAIN("main", main, "simulate")
    _SEED("seed", seed, "simulate")
    checks.POSITIVE_SECONDS("until", until, "simulate")
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("simulate makes a Trio run of its own, got called inside of one")
    choices, standstill = Choices(seed), Standstill()
    run = partial(_simulated, main, until, choices, standstill)
    try:
        with _Noted(seed):
            return trio.run(run, clock=MockClock(autojump_threshold=0), instruments=[standstill])
    finally:
        choices.give_back()  # it is not done yet where Trio itself came down


@trio.lowlevel.enable_ki_protection
async def _simulated(
    main: Callable[[], Awaitable[T]], until: float, choices: Choices, standstill: Standstill
) -> T:
    # Here, not around the run: Trio keeps Ctrl-C away from what is half done.
    choices.take()
    try:
        SIMULATED.set(True)
        with standstill, trio.CancelScope(deadline=trio.current_time() + until):
            return await _result(main)
        raise trio.TooSlowError(f"main was not over after {until:g} s of virtual time")
    finally:
        choices.give_back()


@trio.lowlevel.disable_ki_protection
async def _result(main: Callable[[], Awaitable[T]]) -> T:
    result = main()
    if not inspect.isawaitable(result):
        raise TypeError(f"main must be an async function, got {main!r}, which returned {result!r}")
    return await result


class _Noted:
    """A block whose errors say which seed they are of."""

    def __init__(self, seed: int) -> None:
        self._note = f"in a simulation with seed={seed}"

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            add_note(exc, self._note)
