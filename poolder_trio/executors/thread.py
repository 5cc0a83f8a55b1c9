"""Functions in threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio
from outcome import Error, Value

from poolder_trio.executors.functions import refuse_async, refuse_coroutine
from poolder_trio.kernel.blocks import block
from poolder_trio.policies.checks import FLAG

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from outcome import Outcome

    from poolder_trio.abc import Run

__all__ = ["ThreadExecutor"]

T = TypeVar("T")


@attrs.frozen
class ThreadExecutor:
    """Runs functions in threads: for those that wait, or release the GIL while they work.

    They see the context variables of their job, and `trio.from_thread` works in them.

    Args:
        abandon_on_cancel: leave the thread of a cancelled job to itself: it runs on, even beyond
            the component, and its result is lost. By default it is waited for, and if it then
            returns or raises, that stands. `trio.from_thread.check_cancelled` asks to stop.

    Raises:
        TypeError: ``abandon_on_cancel`` is no bool.
    """

    abandon_on_cancel: bool = attrs.field(default=False, kw_only=True, validator=FLAG.field)

    def check(self, fn: object) -> None:
        """Raise ``TypeError`` if ``fn`` is async, or cannot be called."""
        refuse_async(fn, self)

    @block
    async def open(self, *, idle: float) -> AsyncGenerator[Run]:  # noqa: ARG002
        """Open it; ``idle`` changes nothing, since Trio keeps its idle threads for ten seconds."""
        # Trio's default limiter is shared by all of a program: a component that has its own limit
        # would wait for strangers, and they for it.
        limiter = trio.CapacityLimiter(math.inf)

        async def run(fn: Callable[..., T], args: tuple[object, ...]) -> T:
            # No variable holds the outcome: an error holds on to this frame.
            return (
                await trio.to_thread.run_sync(
                    _outcome_of, fn, args, abandon_on_cancel=self.abandon_on_cancel, limiter=limiter
                )
            ).unwrap()

        yield run


def _outcome_of(fn: Callable[..., T], args: tuple[object, ...]) -> Outcome[T]:
    """Call a function; what it raises is no error of Trio's, which would assign to it."""
    try:
        result = fn(*args)
        refuse_coroutine(fn, result)
        return Value(result)
    except Exception as error:  # noqa: BLE001  # it is raised where the function was called
        # Without this frame; and no variable holds an error that holds on to the variable.
        return Error(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
