"""What sits on a seat where functions are run: each runs in the context of who submitted it."""

from __future__ import annotations

import inspect
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from poolder_trio.kernel import inside
from poolder_trio.kernel.contexts import alike, refers_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from poolder_trio.abc import Run
    from poolder_trio.kernel.job import Call, Job
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.policies.retry import Retry

IS_ASYNC = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE


def check_function(fn: object) -> None:
    """Raise ``TypeError`` unless calling ``fn`` gives something to await."""
    try:
        if fn.__code__.co_flags & IS_ASYNC:  # type: ignore[attr-defined]  # an AttributeError is the answer
            return
    except (AttributeError, TypeError):
        pass
    inner = fn
    while isinstance(inner, partial):
        inner = inner.func
    if inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__):
        return
    raise TypeError(_not_async(fn))


def _not_async(fn: object) -> str:
    if inspect.iscoroutine(fn):
        return f"expected a function and its arguments apart, got {fn!r}: pass fn, *args"
    if not callable(fn):
        return f"expected an async function, got {fn!r}"
    if getattr(fn, "__name__", "") == "<lambda>":
        return "expected an async function, got a lambda: pass fn, *args, or write an async def"
    if inspect.isasyncgenfunction(fn):
        return f"expected an async function, got {fn!r}, an async generator: it has no result"
    return (
        f"expected an async function, got {fn!r}: write async def, "
        f"or run it elsewhere: executor=ThreadExecutor() or executor=ProcessExecutor()"
    )


class Runner:
    """Runs functions on a seat. There is nothing to restart: all of them are alike."""

    __slots__ = (
        "_context",
        "_executor",
        "_handle_error",
        "_kept",
        "_marked",
        "_seat",
        "_size",
        "_variables",
        "hibernate_after",
        "index",
        "name",
        "retry",
        "stack",
    )

    callbacks: Mapping[str, Callable[..., object]] = {}
    priority = "normal"
    stack: AsyncExitStack

    def __init__(
        self,
        seat: Seat,
        retry: Retry,
        hibernate_after: float,
        handle_error: Callable[[Any, int, Exception], Awaitable[object]],
        executor: Run | None,
    ) -> None:
        self.index, self.name = seat.index, seat.name
        self.retry = retry
        self.hibernate_after = hibernate_after
        self._seat = seat
        self._handle_error = handle_error
        self._executor = executor
        #: The context that this task runs in, as it was when it was entered, and as submitted.
        self._context = self._marked = self._kept = Context()
        #: How many variables it has, and what they are kept in, while nobody has set one. Where
        #: there was none, their number says it all, and is had for less.
        self._size = -1
        self._variables: object = None

    async def handle_init(self) -> None:
        """Nothing to prepare."""

    @trio.lowlevel.disable_ki_protection
    async def handle_call(self, job: Job[Any]) -> object:
        """Call the job's function in a copy of its submitter's context."""
        if (
            job.context is not self._kept
            or len(self._context) != self._size
            or (self._kept and refers_to(self._context)[-1] is not self._variables)
        ) and not self.at_home(job.context):
            await self.enter(job.context)
        if self._executor is None:
            return await job.message(*job.args)  # type: ignore[operator, misc]  # it was checked
        return await self._executor(job.message, job.args)  # type: ignore[arg-type]

    @trio.lowlevel.disable_ki_protection
    async def handle_job(self, call: Call) -> object:
        """Call a function that nobody waits for."""
        if (
            call.context is not self._kept
            or len(self._context) != self._size
            or (self._kept and refers_to(self._context)[-1] is not self._variables)
        ) and not self.at_home(call.context):
            await self.enter(call.context)
        if self._executor is None:
            return await call.fn(*call.args)
        return await self._executor(call.fn, call.args)

    def at_home(self, submitted: Context | None) -> bool:
        """Tell whether this task is in a copy of that context, which nobody has changed."""
        if submitted is not self._kept or not alike(self._context, self._marked):
            return False
        self._variables = refers_to(self._context)[-1]  # a variable was set, and set back
        return True

    async def enter(self, submitted: Context | None) -> None:
        """Let this task go on in a copy of the context of a submitter."""
        assert submitted is not None
        context = submitted.copy()
        context.run(inside.take_over, self._seat)
        # A context that a function has changed is not the next one's.
        self._kept, self._context, self._marked = submitted, context, context.copy()
        self._size, self._variables = len(context), refers_to(context)[-1]
        trio.lowlevel.current_task().context = context
        # Trio enters a task's context with each of its steps.
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.disable_ki_protection
    async def handle_error(self, call: Call, attempt: int, error: Exception) -> object:
        """Ask the component."""
        return await self._handle_error(call, attempt, error)

    def rest(self) -> None:
        """Let go of the last submitter's context: this goes on in one of its own."""
        if not self._kept and len(self._context) == self._size:
            return  # it holds nothing, and to change over costs a pass of the event loop
        self._context = self._marked = self._kept = Context()
        self._size, self._variables = -1, None
        if self._seat.task is not None:
            self._seat.task.context = Context()

    async def handle_hibernate(self) -> None:
        """Leave: another is called in when there is something to do."""
        self._seat.crew.dismiss(self._seat)

    async def handle_stop(self) -> None:
        """Nothing to clean up."""
