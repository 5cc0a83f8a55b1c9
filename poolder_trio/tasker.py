"""Functions to run, at most so many at once."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, TypeVar, cast, overload

from poolder_trio.kernel import inside
from poolder_trio.kernel.contexts import refers_to
from poolder_trio.kernel.functions import Functions
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.runner import refuse_keywords
from poolder_trio.policies import checks

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterable,
        Awaitable,
        Callable,
        Hashable,
        Iterable,
        Mapping,
        Sequence,
    )

    import outcome
    from typing_extensions import Never, TypeVarTuple, Unpack

    from poolder_trio.abc import Executor, Instrument
    from poolder_trio.kernel.mapping import Mapped
    from poolder_trio.policies.queues import Queue
    from poolder_trio.policies.rate import Rate
    from poolder_trio.policies.restart import Restart
    from poolder_trio.policies.retry import Retry

    Ts = TypeVarTuple("Ts")

S = TypeVar("S")
T = TypeVar("T")


class FunctionOptions(TypedDict, total=False):
    """What all components that run functions take by keyword."""

    name: str | None
    grace: float
    queue: Queue
    rate: Rate | tuple[Rate, ...] | None
    executor: Executor | None
    retry: Retry
    restart: Restart
    limit_per_key: int | None
    job_timeout: float
    overrun_warning: float
    hibernate_after: float
    instruments: Sequence[Instrument]


class TaskerOptions(FunctionOptions, total=False):
    """What `Tasker` takes by keyword."""

    limit: int


class Tasker(Functions):
    """Runs functions, at most ``limit`` at once.

    ::

        async with Tasker(limit=10) as tasker:
            job = await tasker.submit(fetch, url)      # a handle: await job.wait()
            await tasker.execute(log_visit, url)       # nobody waits for it
            page = await tasker.call(fetch, url)       # submit, and wait

    Leaving the block waits until every accepted job has ended; then nothing of the tasker runs. A
    submitted job that failed and was not looked at leaves the block then.

    Each function runs in a copy of its submitter's context, as with ``nursery.start_soon``.

    Options are declared in a subclass, as class attributes, or passed.

    Options:
        limit: how many functions may run at once; can be set while the tasker is open.
        queue: a `Queue`: where those wait that may not run yet.
        rate: a `Rate` at which tries start, or a tuple of them, all of which are kept.
        executor: where functions run: ``None`` for async functions, in this Trio; or
            ``ThreadExecutor()``, ``ProcessExecutor()``, for plain ones.
        retry: a `Retry`: how often a function is tried.
        restart: a `Restart`: how many failures of executed functions are logged before one
            leaves the block.
        limit_per_key: how many functions may run at once for one ``key=``.
        job_timeout: seconds after which a try is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a running function is logged, with its stack.
        hibernate_after: seconds without work after which tasks and processes end; they come back
            with the next job.
        name: by which `whereis` finds the tasker.
        grace: seconds that leaving the block waits for accepted jobs before it cancels them.
        instruments: `Instrument` objects that are told what happens.

    Args that all methods share:
        fn: an async function, a partial of one, or an object whose ``__call__`` is one; with an
            executor a plain function.
        args: its positional arguments. Use ``functools.partial`` for keyword arguments.
        key: what ``limit_per_key`` and ``Queue(order="fair")`` go by.
        priority: its rank in a queue with ``order="priority"``; greater comes first.

    Errors that all methods share:
        TypeError: ``fn`` cannot run here; nothing looks at ``key`` or ``priority``.
        Closed: the tasker is not open, or accepts no more.
        TooManyRequests: as many as ``queue.max`` wait, and the rule is to refuse.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {**Functions.OPTIONS, "limit": checks.COUNT}
    LIMITS: ClassVar[Sequence[str]] = ("limit",)
    KIND: ClassVar[str] = "tasker"

    limit: int = 5

    def __init__(self, *positional: Never, **options: Unpack[TaskerOptions]) -> None:
        """Describe a tasker; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong.
        """
        self.refuse_positional(positional, "limit")
        self.take(dict(options))

    def __repr__(self) -> str:
        return f"<{self._title}, limit {self.limit}, {self._stage.name.lower()}>"

    # -- nobody waits for the result

    async def execute(
        self,
        fn: Callable[[Unpack[Ts]], object],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: Never,
    ) -> None:
        """Run ``fn(*args)``; wait while the queue is full, where the rule is to wait.

        What it raises, when its tries are used up, is a crash: ``restart`` decides what follows.
        Cancelled, it has sent nothing.

        Raises:
            RuntimeError: a function waits for room in its own tasker, which is full of functions
                that wait for it, too: they would wait for ever.
        """
        refuse_keywords(fn, keywords)
        await self._sending().send(self._call(fn, args), key, priority)

    def execute_nowait(
        self,
        fn: Callable[[Unpack[Ts]], object],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: Never,
    ) -> None:
        """Run ``fn(*args)``, without waiting for anything: raises `QueueFull` instead."""
        refuse_keywords(fn, keywords)
        self._sending().send_nowait(self._call(fn, args), key, priority)

    # -- somebody does

    @overload
    async def submit(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    async def submit(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    async def submit(
        self,
        fn: Callable[[Unpack[Ts]], Any],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: object,
    ) -> Job[Any]:
        """Run ``fn(*args)`` and return its `Job`; wait while the queue is full, as `execute`."""
        refuse_keywords(fn, keywords)
        return await self._submit(fn, args, key, priority)

    @overload
    def submit_nowait(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    def submit_nowait(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    def submit_nowait(
        self,
        fn: Callable[[Unpack[Ts]], Any],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[Any]:
        """Run ``fn(*args)`` and return its `Job`, without waiting: raises `QueueFull` instead."""
        box = self._box
        line = box.line
        if len(line) < box.bound and key is None and priority is None:
            # What is left needs none of the layers below: they cost as much as the job. This does
            # what `record` does, without the call.
            if fn is not self._checked:
                self._check(fn)
            contexts, context = self._contexts, copy_context()
            if context:
                if refers_to(context)[-1] is not contexts.variables:
                    contexts.take()
            elif not contexts.is_empty:
                contexts.take()
            job: Job[Any] = Job()
            job.message = fn
            job.place = box
            if len(args) == 1:
                job.given = args[0]  # type: ignore[misc]  # it has one
                job.terms = contexts.one
            else:
                job.given = args
                job.terms = contexts.others
            job.attempt = 0
            job.waits = None
            line.append(job)
            return job
        sent = self._sending().send_nowait(self._call(fn, args), key, priority, awaited=True)
        return cast("Job[Any]", sent)

    @overload
    async def call(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> T: ...
    @overload
    async def call(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> T: ...
    async def call(
        self,
        fn: Callable[[Unpack[Ts]], Any],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: object,
    ) -> Any:
        """Run ``fn(*args)`` and return what it returns.

        A caller that is cancelled takes the job back if it waits; if it runs, it is cancelled,
        and the caller leaves when it has stopped.

        Raises:
            Exception: what ``fn`` raised, with a note that says where.
            RuntimeError: a function calls its own tasker, which is full of functions that wait
                for it, too: they would wait for ever.
        """
        refuse_keywords(fn, keywords)
        call = self._call(fn, args)
        if inside.anywhere():
            call.context = copy_context()
            call.context.run(inside.call)
        return await self._sending().call(call, key, priority)

    # -- many

    @overload
    def map(
        self,
        fn: Callable[[S], Awaitable[T]],
        inputs: Iterable[S] | AsyncIterable[S],
        *,
        key: Callable[[S], Hashable] | None = None,
        ordered: bool = False,
        outcomes: Literal[True],
    ) -> Mapped[S, outcome.Outcome[T]]: ...
    @overload
    def map(
        self,
        fn: Callable[[S], Awaitable[T]],
        inputs: Iterable[S] | AsyncIterable[S],
        *,
        key: Callable[[S], Hashable] | None = None,
        ordered: bool = False,
        outcomes: Literal[False] = False,
    ) -> Mapped[S, T]: ...
    @overload
    def map(
        self,
        fn: Callable[[S], T],
        inputs: Iterable[S] | AsyncIterable[S],
        *,
        key: Callable[[S], Hashable] | None = None,
        ordered: bool = False,
        outcomes: Literal[True],
    ) -> Mapped[S, outcome.Outcome[T]]: ...
    @overload
    def map(
        self,
        fn: Callable[[S], T],
        inputs: Iterable[S] | AsyncIterable[S],
        *,
        key: Callable[[S], Hashable] | None = None,
        ordered: bool = False,
        outcomes: Literal[False] = False,
    ) -> Mapped[S, T]: ...
    def map(
        self,
        fn: Callable[[Any], Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Hashable] | None = None,
        ordered: bool = False,
        outcomes: bool = False,
        **keywords: object,
    ) -> Mapped[Any, Any]:
        """Run ``fn`` on each input: an ``async with`` that gives a channel of results.

        ::

            async with tasker.map(fetch, urls) as pages:
                async for page in pages:
                    ...

        Inputs are read lazily, at most ``limit`` ahead of the results that were received. With
        ``limit_per_key``, a key that is full holds up no other: of inputs that wait for their key,
        and of results that wait behind these for their turn, there are at most 1,000 more.

        Leaving the block, in whatever way, cancels what runs of it, at once. The channel is a
        ``trio.abc.ReceiveChannel``, and ends after the last result, and only then. If the map
        fails, or its inputs do, who receives in the block is cancelled, and the error leaves it.
        A receiver that this does not reach, in a task from outside or under a shield, gets a
        ``trio.BrokenResourceError``.

        Args:
            fn: takes one input.
            inputs: any iterable or async iterable, endless ones included.
            key: a function from an input to its key, for ``limit_per_key`` and fair queues.
            ordered: whether results come in the order of the inputs, and not as they are done; a
                failure then shows in its turn.
            outcomes: whether results are ``outcome.Outcome`` objects, also of inputs that the queue
                refused; else the first failure cancels the rest and leaves the block, in a group.

        Raises:
            TypeError: ``inputs`` is no iterable.
            RuntimeError: (on entering) a function maps on its own tasker, which is full of
                functions that wait for it, too: they would wait for ever.
        """
        refuse_keywords(fn, keywords)
        return self._map(fn, inputs, key=key, ordered=ordered, outcomes=outcomes)
