"""What sits on a seat where functions are run: each runs in the context of who submitted it."""

from __future__ import annotations

import inspect
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import trio

from poolder_trio.kernel import inside
from poolder_trio.kernel.contexts import alike, refers_to
from poolder_trio.kernel.notes import describe
from poolder_trio.policies.unstarted import close_unstarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack
    from typing import NoReturn

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


def refuse_keywords(fn: object, keywords: Mapping[str, object]) -> None:
    """Raise ``TypeError`` if a function is sent with keyword arguments."""
    if keywords:
        name = getattr(fn, "__name__", None) or describe(fn)
        given = ", ".join(f"{each}=..." for each in keywords)
        raise TypeError(
            f"functions are sent with positional arguments, got {given}: "
            f"pass functools.partial({name}, {given})"
        )


def _not_async(fn: object) -> str:
    if close_unstarted(fn):
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
        "_handle_error",
        "_marked",
        "_seat",
        "context",
        "executor",
        "hibernate_after",
        "index",
        "kept",
        "name",
        "retry",
        "size",
        "stack",
        "variables",
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
        seat.elsewhere = executor is not None
        self._handle_error = handle_error
        self.executor = executor
        #: The context that this task runs in, as it was when it was entered, and as submitted.
        self.context = self._marked = self.kept = Context()
        #: How many variables it has, and what they are kept in, while nobody has set one; ``None``
        #: where there was none: then their number says it all, and is had for less.
        self.size = -1
        self.variables: object = None

    async def handle_init(self) -> None:
        """Nothing to prepare."""

    @trio.lowlevel.disable_ki_protection
    async def handle_call(self, job: Job[Any]) -> object:
        """Call the job's function in a copy of its submitter's context."""
        # No variable here holds the context: who keeps an error keeps this frame.
        if self.is_away(job.terms.context):
            await self.enter(job.terms.context)
        fn, args = cast("Callable[..., Any]", job.message), cast("tuple[object, ...]", job.args)
        del job  # nor the job, which holds the error
        if self.executor is None:
            return await fn(*args)
        return await self.executor(fn, args)

    async def handle_job(self, job: object) -> NoReturn:
        """Refuse: every function has a record, whether or not somebody waits for it."""
        raise NotImplementedError(job)

    def is_away(self, submitted: Context | None) -> bool:
        """Tell whether this task has to enter another context for a function."""
        return (
            submitted is not self.kept
            or len(self.context) != self.size
            or (self.variables is not None and refers_to(self.context)[-1] is not self.variables)
        ) and not self.at_home(submitted)

    def at_home(self, submitted: Context | None) -> bool:
        """Tell whether this task is in a copy of that context, which nobody has changed."""
        if submitted is not self.kept or not alike(self.context, self._marked):
            return False
        if self.variables is not None:
            self.variables = refers_to(self.context)[-1]  # a variable was set, and set back
        return True

    async def enter(self, submitted: Context | None) -> None:
        """Let this task go on in a copy of the context of a submitter."""
        assert submitted is not None
        context = submitted.copy()
        context.run(inside.take_over, self._seat)
        # A context that a function has changed is not the next one's.
        self.kept, self.context, self._marked = submitted, context, context.copy()
        self.size = len(context)
        self.variables = refers_to(context)[-1] if submitted else None
        trio.lowlevel.current_task().context = context
        # Trio enters a task's context with each of its steps.
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.disable_ki_protection
    async def handle_error(self, call: Call, attempt: int, error: Exception) -> object:
        """Ask the component."""
        return await self._handle_error(call, attempt, error)

    def rest(self) -> None:
        """Let go of the last submitter's context: this goes on in the opener's."""
        if not self.kept and len(self.context) == self.size:
            return  # it holds nothing, and to change over costs a pass of the event loop
        self.context = self._marked = self.kept = Context()
        self.size, self.variables = -1, None
        if self._seat.task is not None:
            self._seat.task.context = self._seat.crew.fresh_context()

    async def handle_hibernate(self) -> None:
        """Leave: another is called in when there is something to do."""
        self._seat.crew.dismiss(self._seat)

    async def handle_stop(self) -> None:
        """Nothing to clean up."""
