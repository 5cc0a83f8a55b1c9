"""Things to run by the clock."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, TypedDict, cast

import trio

from poolder_trio.kernel import crew as kernel
from poolder_trio.kernel import inside, schedules
from poolder_trio.kernel.accounts import ScheduleStatistics, with_firings
from poolder_trio.kernel.instruments import INSTRUMENTS, Instruments
from poolder_trio.kernel.ledger import Ledger
from poolder_trio.kernel.marks import declared_triggers, marked
from poolder_trio.kernel.relay import Relay, RelayRunner
from poolder_trio.kernel.runner import check_function, refuse_keywords
from poolder_trio.kernel.schedules import Schedules
from poolder_trio.kernel.seat import Woken, unprotected
from poolder_trio.kernel.service import Service, Stage
from poolder_trio.kernel.spell import Spell
from poolder_trio.kernel.stack import Stack
from poolder_trio.kernel.wall import CLOCK, WallClock
from poolder_trio.policies import checks
from poolder_trio.policies.daytime import ZONE
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.retry import Retry
from poolder_trio.policies.slices import SLICES
from poolder_trio.policies.unstarted import close_unstarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime, tzinfo

    from typing_extensions import Never, TypeVarTuple, Unpack

    from poolder_trio.abc import Instrument, Trigger
    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.kernel.wall import Clock
    from poolder_trio.policies.triggers import TriggerLike
    from poolder_trio.verdicts import Backoff, ErrorVerdict

    Ts = TypeVarTuple("Ts")
    Find = Callable[[str], tuple[Callable[..., Awaitable[object]], tuple[object, ...]]]


class SchedulerOptions(TypedDict, total=False):
    """What `Scheduler` takes by keyword."""

    name: str | None
    grace: float
    jobs: Mapping[str, TriggerLike]
    retry: Retry
    restart: Restart
    overlap: str
    misfire_grace: float
    coalesce: str
    timezone: str | tzinfo
    clock: Clock | None
    hibernate_after: float
    priority: str
    job_timeout: float
    overrun_warning: float
    instruments: Sequence[Instrument]


class Scheduler(Service):
    """Runs jobs by the clock.

    ::

        class Upkeep(Scheduler):
            jobs = {"prune": "*/15 * * * *", "ping": 5.0}

            async def prune(self): ...
            async def ping(self): ...

            @cron("30 2 * * *", timezone="Europe/Paris")
            async def audit(self): ...

        async with Upkeep():
            await trio.sleep_forever()

    A job runs the function that it was scheduled with, else the method of its name, else
    ``handle_job(name)``. It may return ``Reschedule(trigger)`` to change its own trigger,
    ``Reschedule(name, trigger)`` to set another's, ``Exit()`` to be scheduled no more, ``Stop()``
    to close the scheduler. Jobs run beside one another; two runs of one job do as ``overlap`` says.

    Leaving the block fires nothing more, and waits for the runs that have begun or wait.

    Triggers are a number of seconds or a ``timedelta``; `Every`; a cron expression, or `Cron`; an
    aware ``datetime``, or `At`; or any object with ``next(after)``. Intervals count from when they
    were scheduled, and do not drift. Dates go by the wall clock, which is looked at once a minute
    at least: when it is set forward, ``misfire_grace`` and ``coalesce`` say what becomes of what
    was due meanwhile; when it is set back by less than three hours, fixed times do not come again.

    Options are declared in a subclass, as class attributes, or passed.

    Options:
        jobs: a dict of triggers by the names of their jobs.
        retry: a `Retry`: how often a run is tried. While it backs off, it is a run still.
        restart: a `Restart`: what follows when a run fails for good.
        overlap: what becomes of a firing while the job runs. ``"queue"``: it waits, and if one
            waits already it is missed; ``"skip"``: it is skipped; ``"allow"``: it runs beside;
            ``"replace"``: it runs instead, once the one that runs has been cancelled.
        misfire_grace: seconds; a firing that is found later than this is missed.
        coalesce: which of several firings that are overdue together is to run: ``"latest"`` or
            ``"earliest"``, and the others are missed; or ``"all"``.
        timezone: where cron expressions are meant: an IANA name or a ``tzinfo``.
            Declared, it hides ``datetime.timezone`` in what follows in the class statement:
            ``import datetime as dt``, and write ``dt.timezone.utc`` there.
        clock: returns what time it is, an aware ``datetime``; ``None`` for the machine's clock.
        hibernate_after: seconds without a run after which `handle_hibernate` runs.
        priority: a share of the event loop: see `Worker`.
        job_timeout: seconds after which a try is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a run is logged, with its stack.
        name: by which `whereis` finds the scheduler.
        grace: seconds that leaving the block waits for runs before it cancels them.
        instruments: `Instrument` objects that are told what happens.

    Attributes:
        stack: an ``AsyncExitStack``: what `handle_init` enters in it, a nursery or another
            component too, is left when the accepted work has ended, or once the block is cut.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        "jobs": checks.Check(
            "a dict of triggers by the names of their jobs", lambda v: isinstance(v, Mapping)
        ),
        "retry": checks.instance_of(Retry, "a Retry"),
        "restart": checks.instance_of(Restart, "a Restart"),
        "overlap": checks.one_of("queue", "skip", "allow", "replace"),
        "misfire_grace": checks.SECONDS,
        "coalesce": checks.one_of("latest", "earliest", "all"),
        "timezone": ZONE,
        "clock": CLOCK,
        "hibernate_after": checks.POSITIVE_SECONDS,
        "priority": checks.one_of(*SLICES),
        "job_timeout": checks.POSITIVE_SECONDS,
        "overrun_warning": checks.POSITIVE_SECONDS,
        "instruments": INSTRUMENTS,
    }
    HOOKS: ClassVar[Iterable[str]] = (
        "handle_init",
        "handle_job",
        "handle_error",
        "handle_hibernate",
    )

    jobs: Mapping[str, TriggerLike] = {}
    retry: Retry = Retry()
    restart: Restart = Restart()
    overlap: str = "queue"
    misfire_grace: float = math.inf
    coalesce: str = "latest"
    timezone: str | tzinfo = "UTC"
    clock: Clock | None = None
    hibernate_after: float = math.inf
    priority: str = "normal"
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    instruments: Sequence[Instrument] = ()

    stack: AsyncExitStack

    _triggers: Mapping[str, Trigger]
    _schedules: Schedules | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        jobs = cast("Mapping[str, object]", cls.declared("jobs"))
        for name in declared_triggers(cls, jobs, cast("str | tzinfo", cls.declared("timezone"))):
            _require_method(cls, name)

    @classmethod
    def called_by_name(cls) -> Collection[str]:
        """Return the names of jobs, which may be methods."""
        return {*cast("Mapping[str, object]", cls.declared("jobs")), *marked(cls)}

    def __init__(self, *positional: Never, **options: Unpack[SchedulerOptions]) -> None:
        """Describe a scheduler; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or a job has nothing to run.
        """
        self.refuse_positional(positional, "jobs")
        self.take(cast("dict[str, object]", options))
        self._triggers = declared_triggers(type(self), self.jobs, self.timezone)
        for name in self._triggers:
            _require_method(type(self), name)

    def __repr__(self) -> str:
        count = 0 if self._schedules is None else len(self._schedules.table)
        return f"<{self._title}, {count} jobs, {self._stage.name.lower()}>"

    # -- for users to override

    async def handle_init(self) -> None:
        """Prepare the scheduler, before its first run; what it raises fails the entering."""

    async def handle_job(self, name: str, /) -> object:
        """Run the job ``name``, which has no function and no method of its own.

        It may return what every job may: see the class. What it raises is a try that failed.
        """
        raise NotImplementedError(name)

    async def handle_error(
        self,
        name: str,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
        /,
    ) -> ErrorVerdict | Backoff | None:
        """Say what to do about a try that failed: ``RETRY``, ``Backoff(seconds)``, ``HALT``.

        ``None`` does as ``retry`` says. What it raises fails the run.

        Args:
            name: the job.
            attempt: which try it was, from 1.
            error: what it failed with.
        """
        return None

    async def handle_hibernate(self) -> None:
        """Rest: runs once when nothing ran for ``hibernate_after`` seconds."""

    # -- what the kernel asks of a component

    async def _furnish(self, stack: AsyncExitStack) -> None:
        self.stack = await stack.enter_async_context(Stack())

    async def _start(self, nursery: trio.Nursery) -> Relay:
        log = logging.getLogger("poolder_trio.scheduler")
        instruments = Instruments(self, self.instruments, log) if self.instruments else None
        rules = kernel.Rules(
            Queue(max=math.inf),
            self.restart,
            shared=True,
            job_timeout=self.job_timeout,
            overrun_warning=self.overrun_warning,
            limit=1,
        )
        crew = Relay(self._title, self, rules, nursery, Ledger(instruments), log)
        if self.hibernate_after < math.inf:
            crew.spell = Spell(crew)
        self._engine = crew
        boxes = [cast("Mailbox", crew.shared)]
        self._schedules = Schedules(
            crew,
            schedules.Rules(
                overlap=self.overlap,
                misfire_grace=self.misfire_grace,
                coalesce=self.coalesce,
                timezone=self.timezone,
                where=self._title,
            ),
            WallClock(self.clock),
            lambda _: boxes,
            self._find,
            self.close,
        )
        # What is scheduled while the scheduler prepares itself may be due before it is ready.
        crew.pause()
        await unprotected(self.handle_init)
        cast("Stack", self.stack).settle()
        for name, trigger in self._triggers.items():
            self._schedules.declare(name, trigger)
        crew.resume()
        if self.hibernate_after < math.inf:
            # A worker that waits for its first run is idle, too.
            crew.call_in(Woken.TO_LOOK_AGAIN)
        await trio.lowlevel.checkpoint()
        return crew

    def employ(self, seat: Seat) -> RelayRunner:
        """Return what runs jobs on a seat; the crew calls this."""
        assert self._schedules is not None
        return RelayRunner(seat, cast("Relay", seat.crew), self, self._schedules.obey)

    def crew_changed(self) -> None:
        """Nothing depends on who is there; the crew calls this."""

    def rests(self, seat: Seat) -> None:
        """Let a worker let go of the last job's context; the crew calls this."""
        cast("RelayRunner", seat.worker).rest()
        cast("Relay", seat.crew).rests(seat)

    def route_again(self, item: object) -> Mailbox | None:  # noqa: ARG002
        """Return ``None``: when the one mailbox is closed, nothing more is run."""
        return None

    def _leaving(self) -> None:
        if self._schedules is not None:
            self._schedules.stop()

    # -- for users

    def schedule(
        self,
        name: str,
        trigger: TriggerLike,
        fn: Callable[[Unpack[Ts]], Awaitable[object]] | None = None,
        *args: Unpack[Ts],
        **keywords: Never,
    ) -> None:
        """Schedule a job, or change one, from now on; what runs of it goes on.

        While the scheduler is being left nothing fires any more, so that this has no effect.

        Args:
            name: of the job.
            trigger: when it is to run.
            fn: an async function; by default, what the job runs already, or the method of its
                name, or `handle_job`. It runs in a copy of this caller's context.
            args: its positional arguments.

        Raises:
            TypeError, ValueError: one of them is wrong, or the trigger has no date to come.
            Closed: the scheduler is not open.
        """
        refuse_keywords(fn, keywords)
        self._require_home()
        table = self._schedules
        if table is None or self._stage is not Stage.OPEN:
            table = self._open()
        made = table.make(name, trigger)
        if fn is not None:
            if name in _OWN_NAMES:
                _refuse_own_name(name, self._title)
            try:
                check_function(fn)
            except TypeError as error:
                raise TypeError(f"jobs[{name!r}] in {self._title}: {error}") from None
        elif args:
            raise TypeError(f"schedule takes arguments for fn, got {args!r} and no fn")
        table.schedule(name, made, fn, args)

    def reschedule(self, jobs: Mapping[str, TriggerLike]) -> None:
        """Schedule these jobs and no others; if one is wrong, nothing changes.

        A job that is there already keeps what it runs, and what runs of it goes on. Those that are
        not among ``jobs`` are unscheduled.

        Args:
            jobs: triggers by name.

        Raises:
            TypeError, ValueError: one is wrong, or has nothing to run, or no date to come.
            Closed: the scheduler is not open.
        """
        table = self._open()
        self.OPTIONS["jobs"]("jobs", jobs, f"{self._title}.reschedule")
        table.replace_all({name: table.make(name, value) for name, value in jobs.items()})

    def unschedule(self, name: str) -> None:
        """Remove a job. A run of it that waits is withdrawn; one that runs is cancelled.

        A job that removes itself so is not cancelled: its run goes on to its end.

        Raises:
            LookupError: there is no such job.
            Closed: the scheduler is not open.
        """
        table = self._open()
        table.unschedule([table.find(name).name])

    def unschedule_all(self) -> None:
        """Remove all jobs, each as `unschedule` does; raises `Closed` likewise."""
        table = self._open()
        table.unschedule(list(table.table))

    def next_fire(self, name: str) -> datetime | None:
        """Return when a job fires next, in UTC; ``None`` if its last run goes on, and no more come.

        Raises:
            LookupError: there is no such job, or it has fired for the last time.
            Closed: the scheduler is not open.
        """
        return self._open().next_fire(name)

    def fire(self, name: str) -> None:
        """Fire a job now, beside its trigger, without waiting; ``overlap`` holds for this, too.

        Raises:
            LookupError: there is no such job.
            Closed: the scheduler is not open, or accepts no more.
        """
        table = self._open()
        entry = table.find(name)
        if self._accepts():
            table.fire(entry)
        else:
            table.crew.ledger.abandon(name)

    def statistics(self) -> ScheduleStatistics:
        """Return the counts of this moment, in runs, and those of firings."""
        firings = (0, 0, 0) if self._schedules is None else self._schedules.counts
        return with_firings(super().statistics(), firings)

    @property
    def report(self) -> ShutdownReport[str]:
        """What became of the runs of this opening, or of the last one: by names of jobs."""
        return cast("ShutdownReport[str]", super().report)

    def close(self) -> None:
        """Fire no more. What has fired is finished; the block goes on."""
        self._require_home()
        if self._schedules is not None:
            self._schedules.stop()
        super().close()

    # -- inside

    def _accepts(self) -> bool:
        return self._stage in (Stage.OPENING, Stage.OPEN)

    def _open(self) -> Schedules:
        self._require_home()
        table = self._schedules
        if table is not None and self._stage is Stage.OPEN:
            return table
        if table is None or self._stage in (Stage.NEW, Stage.ENDED):
            raise self._refusal()
        if not self._accepts() and (table.crew.ended.value or not inside.inside(table.crew)):
            raise self._refusal()
        return table

    def _find(self, name: str) -> tuple[Callable[..., Awaitable[object]], tuple[object, ...]]:
        _require_method(type(self), name)
        own = getattr(self, name, None)
        return (self.handle_job, (name,)) if own is None else (own, ())


def _refuse_own_name(name: str, where: str) -> None:
    """Raise ``ValueError`` if what `Scheduler` itself has is called so."""
    if name in _OWN_NAMES:
        raise ValueError(
            f"a job must not be named as something that Scheduler has, got {name!r}: "
            f"choose another name ({where})"
        )


def _require_method(cls: type[Scheduler], name: str) -> None:
    """Raise unless there is something to run under this name."""
    _refuse_own_name(name, cls.__name__)
    own = inspect.getattr_static(cls, name, None)
    if own is None:
        if cls.handle_job is Scheduler.handle_job:
            raise TypeError(
                f"jobs[{name!r}] has nothing to run: write async def {name}(self), "
                f"or handle_job(self, name), or schedule(name, trigger, fn) ({cls.__name__})"
            )
    elif not inspect.iscoroutinefunction(own):
        close_unstarted(own)
        raise TypeError(f"jobs[{name!r}] must be an async def method, got {own!r} ({cls.__name__})")


_OWN_NAMES = frozenset(dir(Scheduler))
