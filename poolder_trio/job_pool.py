"""Functions to run on a named pool: soon, later, many at once, or by their names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

import attrs
import trio

from poolder_trio.kernel.calls import Calls
from poolder_trio.kernel.delayed import Delayed, Timer
from poolder_trio.kernel.runner import refuse_keywords
from poolder_trio.kernel.wall import CLOCK, WallClock
from poolder_trio.kernel.workers import WorkerInfo, infos, queued
from poolder_trio.policies import checks
from poolder_trio.policies.daytime import ZONE, zone_of
from poolder_trio.policies.restart import Restart
from poolder_trio.tasker import FunctionOptions, Tasker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Container, Hashable, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime, time, tzinfo
    from typing import TypeAlias

    from typing_extensions import Never, TypeVarTuple, Unpack

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Call, Job
    from poolder_trio.kernel.wall import Clock

    Ts = TypeVarTuple("Ts")
    _Function: TypeAlias = "Callable[..., object] | str"

S = TypeVar("S")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


class JobPoolOptions(FunctionOptions, total=False):
    """What `JobPool` takes by keyword."""

    pool_size: int
    clock: Clock | None
    timezone: str | tzinfo


@attrs.frozen
class Waiting:
    """What waits in a `JobPool` at one moment."""

    #: What waits for a worker, the oldest first, whatever order the queue serves it in.
    queued: tuple[Call, ...]
    #: What waits for its time, the soonest first.
    delayed: tuple[Timer, ...]


class JobPool(Tasker):
    """Runs functions with a few workers: fire and forget, awaited, or later.

    ::

        async with JobPool("email", pool_size=5) as pool:
            await pool.perform(send_email, user)                # whether or not it succeeds
            job = await pool.async_perform(get_data, user)      # a handle: await job.wait()
            timer = await pool.perform_after(3600.0, remind, user)
            await pool.perform_at(datetime.time(3), clean_up)   # at the next three o'clock
            await timer.cancel()                                # seconds that were left

    A `Tasker` with a name: `perform` and `async_perform` are its ``execute`` and ``submit``. What
    a performed function raises is logged and counted, unless ``restart`` says otherwise.

    Leaving the block waits until every accepted job has ended. Timers that have not fired when
    the pool closes are abandoned, and their calls are in its report.

    The first argument is the pool's name, by which `whereis` finds it, and `poolder_trio.perform`
    and its like. A subclass may declare it, as every option.

    Options are those of `Tasker`, where ``pool_size`` is called ``limit``, and these.

    Options:
        pool_size: how many functions may run at once; can be set while the pool is open.
        restart: a `Restart`; by default failures of performed functions are logged, all of them.
        clock: a function that returns the time as an aware datetime; ``None`` for the real one.
            Under Trio's own clock it is asked at least once a minute while a timer waits for a
            time of day; under any other, once, when the pool opens: from there the wall clock
            goes on as Trio's clock does.
        timezone: where times of day are meant: an IANA name or a ``tzinfo``.
            Declared, it hides ``datetime.timezone`` in what follows in the class statement:
            ``import datetime as dt``, and write ``dt.timezone.utc`` there.

    Arguments and errors that all methods share are those of `Tasker`. All ``perform`` methods also
    take the name of a function that was registered with `job`; one that is not known is a
    ``LookupError``.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **{name: check for name, check in Tasker.OPTIONS.items() if name != "limit"},
        "pool_size": checks.COUNT,
        "clock": CLOCK,
        "timezone": ZONE,
    }
    LIMITS: ClassVar[Sequence[str]] = ("pool_size", "limit")
    KIND: ClassVar[str] = "job_pool"

    pool_size: int = 5
    restart: Restart = Restart(mode="temporary")
    clock: Clock | None = None
    timezone: str | tzinfo = "UTC"

    _wall: WallClock
    _delayed: Delayed | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._refuse_limit(vars(cls))

    @classmethod
    def _refuse_limit(cls, names: Container[str]) -> None:
        if "limit" in names:
            message = f"{cls.__name__} has no option 'limit': did you mean 'pool_size'?"
            raise TypeError(message)

    def __init__(
        self, title: str | None = None, /, *positional: Never, **options: Unpack[JobPoolOptions]
    ) -> None:
        """Describe a pool; entering it with ``async with`` opens it.

        Args:
            title: the pool's name; the same as the option ``name``.
            options: see the class.

        Raises:
            TypeError, ValueError: an option is unknown or wrong.
        """
        self.refuse_positional(positional, "pool_size")
        passed: dict[str, object] = dict(options)
        self._refuse_limit(passed)
        if title is not None and passed.setdefault("name", title) is not title:
            message = f"expected one name, got {title!r} and {passed['name']!r}"
            raise TypeError(message)
        self._functions: dict[str, Callable[..., Any]] = {}
        self.take(passed)

    def __repr__(self) -> str:
        return f"<{self._title}, pool_size {self.pool_size}, {self._stage.name.lower()}>"

    # -- functions by name

    def job(self, fn: F) -> F:
        """Let ``fn`` be performed by its name: a decorator, which returns it unchanged.

        ::

            email = JobPool("email")

            @email.job
            async def welcome(user): ...

            await email.perform("welcome", user)

        Raises:
            TypeError: it cannot run here, or has no name.
            ValueError: another function has the name.
        """
        self._check(fn)
        name = getattr(fn, "__name__", None)
        if not isinstance(name, str):
            message = f"expected a function with a name, got {fn!r}: write a def around it"
            raise TypeError(message)
        if name in self._functions:
            other = self._functions[name]
            message = f"{self._title} has a job {name!r} already, {other!r}: rename one of them"
            raise ValueError(message)
        self._functions[name] = fn
        return fn

    def _find(self, fn: _Function) -> Callable[..., Any]:
        if not isinstance(fn, str):
            return fn
        try:
            return self._functions[fn]
        except KeyError:
            near = difflib.get_close_matches(
                fn, self._functions, n=len(self._functions) or 1, cutoff=0
            )
            known = ", ".join(map(repr, near)) or "none: register it with @pool.job"
            message = f"{self._title} has no job named {fn!r}; it has: {known}"
            raise LookupError(message) from None

    def _calls(self, fn: _Function, inputs: Iterable[object]) -> Calls:
        function = self._find(fn)
        self._check(function)
        return Calls(function, inputs, self._contexts.take())

    # -- soon

    async def perform(
        self,
        fn: Callable[[Unpack[Ts]], object] | str,
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: Never,
    ) -> None:
        """Run ``fn(*args)``, whether or not it succeeds; wait for room, where the rule says so.

        Cancelled, it has sent nothing. Raises ``RuntimeError`` where `Tasker.execute` does.
        """
        refuse_keywords(fn, keywords)
        await self._sending().send(self._call(self._find(fn), args), key, priority)

    def perform_nowait(
        self,
        fn: Callable[[Unpack[Ts]], object] | str,
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
        **keywords: Never,
    ) -> None:
        """Run ``fn(*args)``, without waiting for anything: raises `QueueFull` instead."""
        refuse_keywords(fn, keywords)
        self._sending().send_nowait(self._call(self._find(fn), args), key, priority)

    @overload
    async def async_perform(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    async def async_perform(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    async def async_perform(
        self,
        fn: str,
        /,
        *args: object,
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[Any]: ...
    async def async_perform(
        self,
        fn: _Function,
        /,
        *args: object,
        key: Hashable = None,
        priority: float | None = None,
        **keywords: object,
    ) -> Job[Any]:
        """Run ``fn(*args)`` and return its `Job`; wait for room as `perform` does."""
        refuse_keywords(fn, keywords)
        return await self._submit(self._find(fn), args, key, priority)

    @overload
    def async_perform_nowait(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    def async_perform_nowait(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[T]: ...
    @overload
    def async_perform_nowait(
        self,
        fn: str,
        /,
        *args: object,
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[Any]: ...
    def async_perform_nowait(
        self,
        fn: _Function,
        /,
        *args: object,
        key: Hashable = None,
        priority: float | None = None,
    ) -> Job[Any]:
        """Run ``fn(*args)`` and return its `Job`, without waiting: raises `QueueFull` instead."""
        return self.submit_nowait(self._find(fn), *args, key=key, priority=priority)

    # -- many

    async def perform_many(
        self,
        fn: Callable[[S], object] | str,
        /,
        inputs: Iterable[S],
        **keywords: Never,
    ) -> None:
        """Run ``fn`` with each of ``inputs``, in order, with none between: all of them or none.

        Waits for room for one, where the rule is to wait, and then takes all, beyond
        ``queue.max`` if need be. ``inputs`` is read at once.

        Raises:
            TooManyRequests: the first was refused, and so were all.
        """
        refuse_keywords(fn, keywords)
        await self._sending().send_many(self._calls(fn, inputs))

    @overload
    async def async_perform_many(
        self, fn: Callable[[S], Awaitable[T]], /, inputs: Iterable[S]
    ) -> list[Job[T]]: ...
    @overload
    async def async_perform_many(
        self, fn: Callable[[S], T], /, inputs: Iterable[S]
    ) -> list[Job[T]]: ...
    @overload
    async def async_perform_many(self, fn: str, /, inputs: Iterable[object]) -> list[Job[Any]]: ...
    async def async_perform_many(
        self, fn: _Function, /, inputs: Iterable[Any], **keywords: object
    ) -> list[Job[Any]]:
        """Do as `perform_many`, and return a `Job` for each of ``inputs``, in order."""
        refuse_keywords(fn, keywords)
        sent = await self._sending().send_many(self._calls(fn, inputs), awaited=True)
        return cast("list[Job[Any]]", sent)

    # -- later

    async def perform_after(
        self,
        seconds: float,
        fn: Callable[[Unpack[Ts]], object] | str,
        /,
        *args: Unpack[Ts],
        **keywords: Never,
    ) -> Timer:
        """Run ``fn(*args)`` in ``seconds``; return a `Timer` at once.

        When the time comes the job is sent to the pool, where it waits if all workers are busy.
        It was accepted when the timer was set: where the queue's rule is to wait it goes in
        beyond ``queue.max``; what another rule drops or refuses then is counted.

        Args:
            seconds: of Trio's clock, from now; 0 or more, and finite.
            fn: the function.
            args: its arguments.

        Raises:
            TypeError, ValueError: ``seconds`` is something else.
            Closed: the pool is not open, or accepts no more.
        """
        refuse_keywords(fn, keywords)
        checks.FINITE_SECONDS("seconds", seconds, self._title)
        calls = [self._call(self._find(fn), args)]
        return (await self._delaying()).after(seconds, calls)

    async def perform_at(
        self,
        when: datetime | time,
        fn: Callable[[Unpack[Ts]], object] | str,
        /,
        *args: Unpack[Ts],
        **keywords: Never,
    ) -> Timer:
        """Run ``fn(*args)`` at a time of the wall clock; return a `Timer`, as `perform_after` does.

        Args:
            when: an aware ``datetime``; or a ``time``, for its next occurrence after this moment,
                in its own time zone or else in ``timezone``. A time that a change of the clocks
                skips comes right after the gap, and of one that is repeated the first counts.
            fn: the function.
            args: its arguments.

        Raises:
            TypeError, ValueError: ``when`` is something else, naive, or in the past.
        """
        refuse_keywords(fn, keywords)
        calls = [self._call(self._find(fn), args)]
        return (await self._delaying()).at(when, calls)

    async def perform_many_after(
        self,
        seconds: float,
        fn: Callable[[S], object] | str,
        /,
        inputs: Iterable[S],
        **keywords: Never,
    ) -> Timer:
        """Run ``fn`` with each of ``inputs`` in ``seconds``; return one `Timer` for all of them.

        Arguments and errors as for `perform_after`; ``inputs`` is read at once.
        """
        refuse_keywords(fn, keywords)
        checks.FINITE_SECONDS("seconds", seconds, self._title)
        calls = self._calls(fn, inputs)
        return (await self._delaying()).after(seconds, calls)

    async def perform_many_at(
        self,
        when: datetime | time,
        fn: Callable[[S], object] | str,
        /,
        inputs: Iterable[S],
        **keywords: Never,
    ) -> Timer:
        """Run ``fn`` with each of ``inputs`` at a time; return one `Timer` for all of them.

        Arguments and errors as for `perform_at`; ``inputs`` is read at once.
        """
        refuse_keywords(fn, keywords)
        calls = self._calls(fn, inputs)
        return (await self._delaying()).at(when, calls)

    async def _delaying(self) -> Delayed:
        await trio.lowlevel.checkpoint()
        if self._delayed is None:
            raise self._refusal()
        return self._delayed

    # -- seeing inside

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return what each worker does at this moment: ``pool_size`` of them.

        While there are more, because ``pool_size`` was lowered, they are here as well.

        Raises:
            Closed: the pool is not open.
        """
        if self._crew is None:
            raise self._refusal()
        return infos(self._crew)

    def jobs(self) -> Waiting:
        """Return what waits for a worker, and what waits for its time.

        What backs off between two tries is in neither.

        Raises:
            Closed: the pool is not open.
        """
        if self._crew is None or self._delayed is None:
            raise self._refusal()
        return Waiting(queued(self._crew), self._delayed.timers())

    # -- what the kernel asks of a component

    async def _prepare(self, stack: AsyncExitStack) -> None:
        self._wall = WallClock(self.clock)
        await super()._prepare(stack)

    async def _start(self, nursery: trio.Nursery) -> Crew:
        crew = await super()._start(nursery)
        self._delayed = Delayed(crew, self._sending(), self._wall, zone_of(self.timezone))
        return crew

    def close(self) -> None:
        """Accept no more. What was accepted is finished; timers are abandoned."""
        self._require_home()
        if self._delayed is not None:
            self._delayed.abandon()
        super().close()

    def _end(self) -> None:
        self._delayed = None
        super()._end()
