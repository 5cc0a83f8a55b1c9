"""One function, a stream of inputs, and results as they finish."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, cast, overload

import trio

from poolder_trio.errors import QueueFull
from poolder_trio.kernel import inside
from poolder_trio.kernel.functions import Functions
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.returns import Completion, Ref, Returns
from poolder_trio.kernel.runner import check_function
from poolder_trio.kernel.terms import ONE
from poolder_trio.policies import checks
from poolder_trio.policies.queues import Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from typing_extensions import Unpack

    from poolder_trio.abc import Executor, Instrument
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.outlet import Outlet
    from poolder_trio.policies.rate import Rate
    from poolder_trio.policies.retry import Retry

S = TypeVar("S")
T = TypeVar("T")


class AsyncPoolOptions(TypedDict, total=False):
    """What `AsyncPool` takes by keyword, beside its callback."""

    max_workers: int
    max_results: float
    name: str | None
    grace: float
    rate: Rate | tuple[Rate, ...] | None
    executor: Executor | None
    retry: Retry
    job_timeout: float
    overrun_warning: float
    hibernate_after: float
    instruments: Sequence[Instrument]


def _check_callback(fn: object, executor: Executor | None, where: str) -> None:
    try:
        (check_function if executor is None else executor.check)(fn)
    except TypeError as error:
        raise TypeError(f"callback: {error} ({where})") from None


class AsyncPool(Functions, Generic[S, T]):
    """Runs one function on a stream of inputs, and gives back results as they finish.

    ::

        async with AsyncPool(fetch, max_workers=3) as pool:
            for url in urls:
                await pool.add_task(url)        # waits for a free worker, and for nothing else
            pool.close()
            async for completion in pool.results:
                print(completion.ref, completion.value)

    Each task that was added has exactly one completion: in `results`, or where ``reply_to`` says.
    A task that fails, or is cancelled with the pool, has one as well, which raises why; nothing
    of that is a crash. Slow tasks hold up no others.

    Leaving the block waits until all tasks have ended and were delivered. What is in `results`
    can be read after it.

    Options are declared in a subclass, as class attributes, or passed.

    Options:
        callback: an async function of one argument; with an executor a plain one.
        max_workers: how many may run at once; can be set while the pool is open.
        max_results: how many completions may wait to be received, those of running tasks
            included, before `add_task` waits; an int, or ``math.inf``. While the block is being
            left, and once `results` is closed, there is no such bound on `results`.
        rate: a `Rate` at which tries start, or a tuple of them, all of which are kept.
        executor: where the callback runs: ``None`` for an async function, in this Trio; or
            ``ThreadExecutor()``, ``ProcessExecutor()``, for a plain one.
        retry: a `Retry`: how often a task is tried. While it waits for its next try its worker is
            free; its place among the ``max_results`` stays taken.
        job_timeout: seconds after which a try is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a running task is logged, with its stack.
        hibernate_after: seconds without work after which tasks and processes end; they come back
            with the next task.
        name: by which `whereis` finds the pool.
        grace: seconds that leaving the block waits for tasks and deliveries before it cancels
            them.
        instruments: `Instrument` objects that are told what happens.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        "callback": checks.Check("a function of one argument", callable),
        "max_workers": checks.COUNT,
        "max_results": checks.Check(
            "an int >= 1 or math.inf",
            lambda v: checks.is_int(v) or (isinstance(v, float) and v == math.inf),
            checks.at_least(1),
        ),
        **{
            name: check
            for name, check in Functions.OPTIONS.items()
            if name not in ("queue", "restart", "limit_per_key")
        },
    }
    LIMITS: ClassVar[Sequence[str]] = ("max_workers",)
    KIND: ClassVar[str] = "async_pool"
    BOUNDED: ClassVar[bool] = True

    callback: Callable[..., Any]
    max_workers: int = 3
    max_results: float = 1000
    queue: Queue = Queue(max=0)

    _returns: Returns[T] | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in Functions.OPTIONS.keys() - cls.OPTIONS.keys():
            if cls.declared(name) is not AsyncPool.declared(name):
                raise TypeError(f"{name} is not an option of an AsyncPool ({cls.__name__})")
        if hasattr(cls, "callback"):
            executor = cast("Executor | None", cls.declared("executor"))
            _check_callback(cls.declared("callback"), executor, cls.__name__)

    @overload
    def __init__(
        self, callback: Callable[[S], Awaitable[T]], **options: Unpack[AsyncPoolOptions]
    ) -> None: ...
    @overload
    def __init__(self, callback: Callable[[S], T], **options: Unpack[AsyncPoolOptions]) -> None: ...
    @overload
    def __init__(self, callback: None = None, **options: Unpack[AsyncPoolOptions]) -> None: ...
    def __init__(
        self,
        callback: Callable[[S], Any] | None = None,
        *positional: object,
        **options: Unpack[AsyncPoolOptions],
    ) -> None:
        """Describe a pool; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or there is no callback.
        """
        self.refuse_positional(positional, "max_workers")
        where = type(self).__name__
        passed: dict[str, object] = dict(options)
        if callback is not None:
            passed["callback"] = callback
        elif not hasattr(type(self), "callback"):
            raise TypeError(f"{where} needs a callback: AsyncPool(fetch), or callback = fetch")
        self.take(passed)
        _check_callback(self.callback, self.executor, where)

    def __repr__(self) -> str:
        return f"<{self._title}, max_workers {self.max_workers}, {self._stage.name.lower()}>"

    # -- what the kernel asks of a component

    async def _start(self, nursery: trio.Nursery) -> Crew:
        log = logging.getLogger(f"poolder_trio.{self.KIND}")
        self._returns = returns = Returns[T](nursery, self.max_results, log)
        crew = await super()._start(nursery)
        nursery.start_soon(returns.end_after, crew.ended, name="poolder_trio results")
        return crew

    def _leaving(self) -> None:
        self._lift()

    async def _settled(self) -> None:
        if self._returns is not None:
            await self._returns.delivered()

    def _end(self) -> None:
        if self._returns is not None:
            self._returns.results.end()
        super()._end()

    def _lift(self) -> None:
        if self._returns is not None:
            self._returns.lift()

    # -- for users

    def close(self) -> None:
        """Accept no more. What was accepted is finished, then `results` ends; the block goes on."""
        self._require_home()
        super().close()
        # Those who wait for a place are to find the pool closed.
        self._lift()

    def cancel(self) -> None:
        """Accept no more and cancel what runs. What is not delivered yet goes to `results`."""
        self._require_home()
        super().cancel()
        if self._returns is not None:
            self._returns.cut()

    @property
    def results(self) -> Outlet[Completion[T]]:
        """A receive channel of completions, in the order in which tasks ended.

        It ends when the pool was closed, or the block left, and all was read. Each opening of the
        pool has one of its own. Closing it says that nobody wants them: they are dropped. Beside
        what a ``trio.abc.ReceiveChannel`` has, there are ``receive_nowait()`` and ``len()``.

        Raises:
            Closed: the pool was never open.
        """
        if self._returns is None:
            raise self._refusal()
        return self._returns.results

    # A task is accepted and followed, or neither: Ctrl-C does not come in between.
    @trio.lowlevel.enable_ki_protection
    async def add_task(
        self, data: S, *, reply_to: trio.abc.SendChannel[Completion[T]] | None = None
    ) -> Ref:
        """Call the callback with ``data``; return as soon as a worker has taken it.

        Waits for a place for the result, and then for a free worker, for as long as the caller's
        cancel scope lets it. Cancelled, it has added nothing.

        Args:
            data: the callback's argument.
            reply_to: where its completion is sent instead of to `results`. A receiver that is
                slow holds up nobody. If it is closed, or too slow for ``grace``, the completion
                goes to `results`.

        Raises:
            TypeError: ``reply_to`` is no ``trio.abc.SendChannel``.
            Closed: the pool is not open, or accepts no more.
            RuntimeError: a callback adds to its own pool, which is full of callbacks that wait
                likewise: they would wait for ever.
        """
        returns = self._opening(reply_to)
        await returns.claim()
        with ExitStack() as undo:
            undo.callback(returns.release)
            ref, follow = returns.expect(reply_to)
            if not self._add_at_once(data, follow):
                await self._add_when_free(data, follow)
            undo.pop_all()
        return ref

    @trio.lowlevel.enable_ki_protection
    def add_task_nowait(
        self, data: S, *, reply_to: trio.abc.SendChannel[Completion[T]] | None = None
    ) -> Ref:
        """Call the callback with ``data``, as `add_task` does, without waiting for anything.

        Arguments as for `add_task`.

        Raises:
            QueueFull: no worker is free, or there is no place for the result.
            TypeError: ``reply_to`` is no ``trio.abc.SendChannel``.
            Closed: the pool is not open, or accepts no more.
        """
        self._require_home()
        returns = self._opening(reply_to)
        returns.claim_nowait()
        with ExitStack() as undo:
            undo.callback(returns.release)
            ref, follow = returns.expect(reply_to)
            if not self._add_at_once(data, follow):
                raise QueueFull(
                    f"all {self.max_workers} workers of {self._title} are busy: "
                    f"await add_task(), or try again later"
                )
            undo.pop_all()
        return ref

    def _opening(self, reply_to: object) -> Returns[T]:
        if reply_to is not None and not isinstance(reply_to, trio.abc.SendChannel):
            raise TypeError(f"reply_to must be a trio.abc.SendChannel or None, got {reply_to!r}")
        if self._returns is None:
            raise self._refusal()
        return self._returns

    def _add_at_once(self, data: S, follow: Callable[[Job[Any]], None]) -> bool:
        """Give the task to a free worker; tell whether there is one."""
        call = self._call(self.callback, (data,))
        try:
            job = self._sending().send_nowait(call, awaited=True)
        except QueueFull:
            return False
        follow(cast("Job[Any]", job))
        return True

    async def _add_when_free(self, data: S, follow: Callable[[Job[Any]], None]) -> None:
        crew = self._crew
        assert crew is not None
        box = crew.shared
        assert box is not None
        job = record(self.callback, box, self._contexts.terms(ONE), data)
        # Before it is sent: a task that never waits may have ended, and others after it, by the
        # time this goes on; and results come in the order in which tasks end.
        follow(job)
        with inside.waiting_for(crew, box, "add_task() to a full pool"):
            taken = await self._sending().deliver(box, job)
        if not taken:
            # The pool was closed meanwhile: this refuses the task, or abandons a callback's.
            self._add_at_once(data, follow)
