"""A pool of stateful workers."""

from __future__ import annotations

import collections.abc
import inspect
import logging
import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, cast

import trio

from poolder_trio.abc import Dispatch, Instrument
from poolder_trio.kernel import inside, resizing
from poolder_trio.kernel.accounts import ScheduleStatistics, with_firings
from poolder_trio.kernel.crew import Crew, Rules
from poolder_trio.kernel.instruments import INSTRUMENTS, Instruments
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.ledger import Ledger
from poolder_trio.kernel.particular import Particular
from poolder_trio.kernel.post import Post
from poolder_trio.kernel.routing import Router
from poolder_trio.kernel.schedules import Rules as Scheduling
from poolder_trio.kernel.schedules import Schedules
from poolder_trio.kernel.seat import unprotected
from poolder_trio.kernel.service import Service
from poolder_trio.kernel.stack import Stack
from poolder_trio.kernel.terms import AWAITED
from poolder_trio.kernel.wall import CLOCK, WallClock
from poolder_trio.policies import checks
from poolder_trio.policies.daytime import ZONE
from poolder_trio.policies.dispatch import MODES, PICKING, Phash, dispatch
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.rate import Rate
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.triggers import make_trigger
from poolder_trio.worker import Worker, only_answers

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Hashable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from contextlib import AsyncExitStack
    from datetime import tzinfo

    from typing_extensions import Never, Unpack

    from poolder_trio.abc import Trigger
    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.kernel.wall import Clock
    from poolder_trio.policies.triggers import TriggerLike

M = TypeVar("M")
R = TypeVar("R")
M_contra = TypeVar("M_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class PoolOptions(TypedDict, total=False):
    """What `Pool` takes by keyword."""

    name: str | None
    grace: float
    pool_size: int
    mode: str | Dispatch
    seed: int | str | bytes | None
    dynamic: bool
    args: Mapping[str, Any]
    key: Callable[[Any], Hashable] | None
    queue: Queue
    restart: Restart
    rate: Rate | None
    schedules: Mapping[str, TriggerLike]
    timezone: str | tzinfo
    clock: Clock | None
    job_timeout: float
    overrun_warning: float
    instruments: Sequence[Instrument]


def _is_worker(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Worker)


def _handles_something(value: object) -> bool:
    assert isinstance(value, type)
    assert issubclass(value, Worker)
    return not only_answers(value) or value.handle_call is not Worker.handle_call


def _is_mapping_of_names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


WORKER = checks.Check(
    "a Worker subclass with a handle_job or handle_call of its own", _is_worker, _handles_something
)
MODE = checks.Check(
    f"one of {', '.join(map(repr, MODES))} or an object with pick(key, now, loads)",
    lambda v: isinstance(v, str) or (isinstance(v, Dispatch) and not isinstance(v, type)),
    lambda v: not isinstance(v, str) or v in MODES,
)


def _check_schedules(
    worker: object, schedules: object, zone: object, where: str
) -> dict[str, Trigger]:
    """Return the triggers of a pool's schedules, or raise what is wrong with them."""
    for name in cast("Mapping[object, object]", schedules):
        if not isinstance(name, str) or not name:
            raise TypeError(f"schedules must have names that are str, got {name!r} ({where})")
    triggers = {
        name: make_trigger(value, cast("str | tzinfo", zone), f"schedules[{name!r}]", where)
        for name, value in cast("Mapping[str, object]", schedules).items()
    }
    if triggers and worker is not None:
        assert isinstance(worker, type)
        assert issubclass(worker, Worker)
        if worker.handle_periodic_job is Worker.handle_periodic_job:
            raise TypeError(
                f"schedules need a worker with handle_periodic_job(self, event), "
                f"got {worker.__name__} without one ({where})"
            )
    return triggers


def check_constructor(worker: type[Worker[Any, Any]], where: str) -> None:
    """Raise ``TypeError`` unless a worker can be made without arguments."""
    try:
        inspect.signature(worker).bind()
    except TypeError as error:
        raise TypeError(
            f"{worker.__name__}.__init__ must take no arguments: {error}; take them "
            f"in handle_init, and give the pool args={{...}} ({where})"
        ) from None


def _check_args(worker: type[Worker[Any, Any]], args: Mapping[str, object], where: str) -> None:
    """Raise ``TypeError`` unless a worker can be started with ``args``.

    It names them and leaves out their values: among these may be secrets.
    """
    check_constructor(worker, where)
    try:
        inspect.signature(worker.handle_init).bind(worker, **args)
    except TypeError as error:
        raise TypeError(
            f"args must fit {worker.__name__}.handle_init, got {[*args]}: {error} ({where})"
        ) from None


class WorkerRef(Generic[M_contra, R_co]):
    """One seat of a pool: sends go to the worker on it, whoever that is.

    In mode ``"available"`` seats have no inboxes of their own, and sends are a ``TypeError``.
    """

    __slots__ = ("_post", "_seat")

    def __init__(self, post: Post, seat: Seat) -> None:
        self._post = post
        self._seat = seat

    def __repr__(self) -> str:
        return f"<WorkerRef {self._seat.name}{'' if self.alive else ', ended'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkerRef) and self._seat is other._seat

    def __hash__(self) -> int:
        return hash(self._seat)

    @property
    def seat(self) -> Seat:
        """The seat; a part of this library, not of its face."""
        return self._seat

    @property
    def index(self) -> int:
        """The number of the seat, from 0."""
        return self._seat.index

    @property
    def alive(self) -> bool:
        """Whether jobs can be sent here."""
        return self._seat.alive

    async def cast(
        self, job: M_contra, *, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send ``job`` to this seat; see `Pool.cast`. Raises `Closed` if it has ended."""
        await self._post.send(job, key, priority, seat=self._seat)

    def cast_nowait(
        self, job: M_contra, *, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send ``job`` to this seat; see `Pool.cast_nowait`. Raises `Closed` if it has ended."""
        self._post.send_nowait(job, key, priority, seat=self._seat)

    async def call(
        self, request: M_contra, *, key: Hashable = None, priority: float | None = None
    ) -> R_co:
        """Send ``request`` to this seat and return the reply; see `Pool.call`.

        Raises `Closed` if it has ended.
        """
        return cast("R_co", await self._post.call(request, key, priority, seat=self._seat))


class Pool(Service, Generic[M, R]):
    """Workers of one kind, each with an inbox; messages are routed among them.

    ::

        async with Pool(Resizer, pool_size=4, mode="phash") as pool:
            await pool.cast(image)

    Leaving the block waits until every accepted job has ended; then nothing of the pool runs.

    Options are declared in a subclass, as class attributes, or passed.

    Options:
        worker: the `Worker` subclass.
        pool_size: how many workers.
        mode: which worker gets a job: ``"round_robin"``, ``"random"``, ``"monotonic"``,
            ``"phash"``, ``"broadcast"``, ``"least_loaded"``, ``"available"``, or an object with
            ``pick(key, now, loads) -> index``.
        seed: makes mode ``"random"`` repeatable.
        dynamic: whether `start_child`, `stop_child` and `resize` are allowed.
        args: keyword arguments for each worker's ``handle_init``.
        key: a function from a job to its key, for modes and queues that look at keys.
        queue: a `Queue`: the waiting room of each worker; of all together in ``"available"``.
        restart: a `Restart`: what follows when a worker crashes.
        rate: a `Rate` at which tries start, all workers together.
        schedules: a dict of triggers by name, as a `Scheduler` takes them: each firing is a job
            for a worker that the mode chooses, by the name where it looks at keys, and runs its
            ``handle_periodic_job(name)``. While it does, one more firing waits, and others are
            missed. It waits with the other jobs, whatever ``queue`` says of their number.
        timezone: where cron expressions of ``schedules`` are meant.
            Declared, it hides ``datetime.timezone`` in what follows in the class statement:
            ``import datetime as dt``, and write ``dt.timezone.utc`` there.
        clock: returns what time it is, an aware ``datetime``; ``None`` for the machine's clock.
        job_timeout: seconds after which a try is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a running job is logged, with its stack.
        name: by which `whereis` finds the pool.
        grace: seconds that leaving the block waits for accepted jobs before it cancels them.
        instruments: `Instrument` objects that are told what happens.

    Attributes:
        stack: an ``AsyncExitStack``: what `handle_init` enters in it, a nursery or another
            component too, is left when the accepted work has ended, or once the block is cut.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        "worker": WORKER,
        "pool_size": checks.COUNT,
        "mode": MODE,
        "seed": checks.Check(
            "an int, str, bytes or None", lambda v: v is None or isinstance(v, (int, str, bytes))
        ),
        "dynamic": checks.FLAG,
        "args": checks.Check("a dict of handle_init's arguments by name", _is_mapping_of_names),
        "key": checks.Check("a function of a job, or None", lambda v: v is None or callable(v)),
        "queue": checks.instance_of(Queue, "a Queue"),
        "restart": checks.instance_of(Restart, "a Restart"),
        "rate": checks.Check("a Rate or None", lambda v: v is None or isinstance(v, Rate)),
        "schedules": checks.Check(
            "a dict of triggers by name", lambda v: isinstance(v, collections.abc.Mapping)
        ),
        "timezone": ZONE,
        "clock": CLOCK,
        "job_timeout": checks.POSITIVE_SECONDS,
        "overrun_warning": checks.POSITIVE_SECONDS,
        "instruments": INSTRUMENTS,
    }
    HOOKS: ClassVar[Iterable[str]] = ("handle_init",)

    worker: type[Worker[M, R]]
    pool_size: int = 10
    mode: str | Dispatch = "round_robin"
    seed: int | str | bytes | None = None
    dynamic: bool = False
    args: Mapping[str, Any] = {}
    key: Callable[[Any], Hashable] | None = None
    queue: Queue = Queue()
    restart: Restart = Restart()
    rate: Rate | None = None
    schedules: Mapping[str, TriggerLike] = {}
    timezone: str | tzinfo = "UTC"
    clock: Clock | None = None
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    instruments: Sequence[Instrument] = ()

    stack: AsyncExitStack

    _component = "pool"
    # Without defaults, as `Functions._box`.
    _post: Post | None
    _router: Router | None
    #: The same, if whatever is cast can be handled.
    _quick: Router | None
    _crew: Crew
    _schedules: Schedules | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        worker = cls.declared("worker") if hasattr(cls, "worker") else None
        _check_schedules(worker, cls.declared("schedules"), cls.declared("timezone"), cls.__name__)

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance."""
        super().take(passed)
        self._post = self._router = self._quick = None

    def __init__(
        self,
        worker: type[Worker[M, R]] | None = None,
        *positional: Never,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Describe a pool; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or there is no worker.
        """
        self.refuse_positional(positional, "pool_size")
        passed: dict[str, object] = dict(options)
        if worker is not None:
            passed["worker"] = worker
        elif not hasattr(type(self), "worker"):
            message = f"{type(self).__name__} needs a worker: Pool(MyWorker), or worker = MyWorker"
            raise TypeError(message)
        self.take(passed)
        self._triggers = _check_schedules(
            self.worker, self.schedules, self.timezone, type(self).__name__
        )
        _check_args(self.worker, self.args, type(self).__name__)

    def __repr__(self) -> str:
        return f"<{self._title} of {self.worker.__name__}, {self._stage.name.lower()}>"

    # -- what the kernel asks of a component

    async def _start(self, nursery: trio.Nursery) -> Crew:
        log = logging.getLogger(f"poolder_trio.{self._component}")
        instruments = Instruments(self, self.instruments, log) if self.instruments else None
        crew = Crew(self._title, self, self._rules(), nursery, Ledger(instruments), log)
        picker, uses_keys = self._picker()
        records = bool(self.instruments)
        router = Router(crew, picker, self.key, may_be_quick=not records)
        self._crew, self._engine, self._post, self._router = crew, crew, None, router
        self._quick = router if self._handles_casts() else None
        kind = Post if self._quick is not None else partial(Particular, only_answers=self._only)
        post = kind(crew, router, self._refusal, records=records, uses_keys=uses_keys)
        self._schedules = None
        await crew.start(self.pool_size, self.args)
        self._post = post
        if self.schedules:
            self._start_schedules(crew)
        return crew

    def _start_schedules(self, crew: Crew) -> None:
        self._schedules = Schedules(
            crew,
            Scheduling(timezone=self.timezone, where=self._title),
            WallClock(self.clock),
            self._route_event,
            self._find_event,
            lambda: None,
        )
        for name, trigger in self._triggers.items():
            self._schedules.declare(name, trigger)

    def _route_event(self, name: str) -> list[Mailbox]:
        assert self._router is not None
        if self.mode == "broadcast" or not self._crew.live:
            return self._router.everyone()
        return [self._router.route(name, name)]

    def _find_event(self, name: str) -> tuple[Callable[..., Awaitable[object]], tuple[object, ...]]:
        return self._handle_event, (name,)

    async def _handle_event(self, worker: Worker[M, R], name: str) -> object:
        assert self._schedules is not None
        return self._schedules.obey(name, await worker.handle_periodic_job(name))

    def _rules(self) -> Rules:
        return Rules(
            queue=self.queue,
            restart=self.restart,
            shared=self.mode == "available",
            rate=self.rate,
            job_timeout=self.job_timeout,
            overrun_warning=self.overrun_warning,
        )

    def _handles_casts(self) -> bool:
        """Tell whether every worker that there may be handles what is cast."""
        return not only_answers(self.worker)

    def _only(self, box: Mailbox) -> type | None:  # noqa: ARG002  # all are of one class
        """Return the class of who takes from ``box``, if it only answers calls."""
        return self.worker

    def _picker(self) -> tuple[Dispatch | None, bool]:
        """Return what picks a worker, if something does, and whether it looks at keys."""
        if not isinstance(self.mode, str):
            return self.mode, True
        picker = dispatch(self.mode, self.seed) if self.mode in PICKING else None
        return picker, isinstance(picker, Phash)

    async def _furnish(self, stack: AsyncExitStack) -> None:
        self.stack = await stack.enter_async_context(Stack())

    async def _opened(self) -> None:
        await unprotected(self.handle_init)
        cast("Stack", self.stack).settle()

    def employ(self, seat: Seat) -> Worker[M, R]:
        """Return a fresh worker for a seat; the pool's crew calls this."""
        worker = self.worker()
        worker.index, worker.name, worker.pool = seat.index, seat.name, self
        return worker

    def crew_changed(self) -> None:
        """Route among the live seats of this moment; the pool's crew calls this."""
        if self._router is not None:
            self._router.changed()

    def rests(self, seat: Seat) -> None:
        """Nothing depends on it; the pool's crew calls this."""

    def route_again(self, item: object) -> Mailbox | None:
        """Return a live seat's mailbox for a job whose seat is gone; the pool's crew calls this."""
        assert self._router is not None
        if self.mode == "broadcast":
            return None  # all others have got it, too
        if type(item) is not Job:
            return self._router.route(item, None)
        # What has arguments is a firing of the schedules: its name is its key.
        key = item.terms.key if item.args is None else cast("str", item.subject)
        return self._router.route(item.subject, key)

    # -- for users to override

    async def handle_init(self) -> None:
        """Run once, when the pool is ready to be used; what it raises fails the entering."""

    # -- sending

    # Arguments that are keyword-only would make every call of this one dearer by a tenth.
    def cast_nowait(self, job: M, key: Hashable = None, priority: float | None = None) -> None:
        """Send ``job`` to a worker, without waiting for anything.

        Args:
            job: the message; its worker's ``handle_job`` gets it.
            key: what a mode or a queue that looks at keys goes by; default: ``key(job)``.
            priority: its rank in a queue with ``order="priority"``; greater comes first.

        Raises:
            QueueFull: as many as ``queue.max`` wait, and the rule is to wait.
            TooManyRequests: as many as ``queue.max`` wait, and the rule is to refuse.
            Closed: the pool is not open, or accepts no more.
            TypeError: nothing here looks at ``key`` or ``priority``, the mode can't use the key,
                or the worker has no ``handle_job``.
        """
        router = self._quick
        next_box = None if router is None else router.next_box
        if next_box is not None and key is None and priority is None and type(job) is not Job:
            box = next_box()
            line = box.line
            # One append is atomic, for Ctrl-C too: this path needs no protection from it.
            if len(line) < box.bound:
                line.append(job)
            else:
                box.put_nowait(job)
            return
        if self.mode == "broadcast":
            self._sending().send_to_all_nowait(job, key, priority)
        else:
            self._sending().send_nowait(job, key, priority)

    async def cast(self, job: M, *, key: Hashable = None, priority: float | None = None) -> None:
        """Send ``job`` to a worker; wait while its queue is full, where the rule is to wait.

        Cancelled, it has sent nothing. Arguments and errors as for `cast_nowait`; also:

        Raises:
            RuntimeError: a worker casts to its own full inbox, and would wait for itself.
        """
        if self.mode == "broadcast":
            await self._sending().send_to_all(job, key, priority)
        else:
            await self._sending().send(job, key, priority)

    async def cast_many(
        self, jobs: Iterable[M], *, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send ``jobs`` in order, with no other job in between.

        Waits for room for the first, then takes all, beyond ``queue.max`` if there are that many.
        Cancelled, it has sent none. Arguments and errors as for `cast`.
        """
        to_all = self.mode == "broadcast"
        await self._sending().send_many(list(jobs), key, priority, to_all=to_all)

    @trio.lowlevel.enable_ki_protection
    async def call(self, request: M, *, key: Hashable = None, priority: float | None = None) -> R:
        """Send ``request`` to a worker and return what its ``handle_call`` replies.

        A caller that is cancelled takes the request back if it waits; if it runs, its handler is
        cancelled, and the caller leaves when that has stopped. In mode ``"broadcast"`` this is
        `broadcast_call`. Arguments as for `cast_nowait`.

        Raises:
            Exception: what the handler raised, with a note that says where.
            JobError: it ended otherwise: halted, cancelled, abandoned, timed out, its worker
                crashed.
            TooManyRequests: the queue's rule refused or dropped it.
            Closed: the pool is not open, or accepts no more.
            TypeError: as for `cast_nowait`.
            RuntimeError: a worker calls itself, and would wait for ever.
        """
        post, router = self._post, self._router
        next_box = None if router is None else router.next_box
        if post is None or next_box is None or post.looks_closer or inside.anywhere():
            if self.mode == "broadcast":
                return cast("R", await self.broadcast_call(request, key=key, priority=priority))
            return cast("R", await self._sending().call(request, key, priority))
        if key is not None or priority is not None:
            return cast("R", await post.call(request, key, priority))
        # What is left needs none of the layers below: this is a third of the cost of a call.
        box = next_box()
        job: Job[R] = record(request, box, AWAITED)
        if len(box.line) < box.bound:
            box.line.append(job)
        elif not await post.deliver(box, job):
            return cast("R", await post.call(request))
        try:
            return await job.answer()
        finally:
            del job  # who keeps an error keeps this frame

    async def broadcast(
        self, job: M, *, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send ``job`` to every live worker; wait for those whose queue is full, as `cast` does.

        Cancelled, it may have sent it to some. Arguments and errors as for `cast`; also:

        Raises:
            TypeError: in mode ``"available"``, where all workers share one inbox.
        """
        self._require_own_inboxes("broadcast")
        await self._sending().send_to_all(job, key, priority)

    async def broadcast_call(
        self, request: M, *, key: Hashable = None, priority: float | None = None
    ) -> list[R]:
        """Send ``request`` to every live worker and return their replies, by seat.

        Waits until all are done. A caller that is cancelled cancels each, as in `call`. Arguments
        as for `cast_nowait`.

        Raises:
            ExceptionGroup: some failed; it has their exceptions.
            Closed: the pool is not open, or accepts no more.
            TypeError: in mode ``"available"``, where all workers share one inbox.
            RuntimeError: a worker of this pool asks, and would wait for itself.
        """
        self._require_own_inboxes("broadcast_call")
        post = self._sending()
        post.check(key, priority)
        self._crew.refuse_own_wait("a broadcast_call")
        post.require_accepting()
        replies: dict[int, R] = {}
        errors: dict[int, Exception] = {}

        async def ask(number: int, seat: Seat) -> None:
            try:
                replies[number] = await post.call(request, key, priority, seat=seat)
            except Exception as error:  # noqa: BLE001  # all of them are raised below, together
                errors[number] = error

        seats = list(self._crew.live)
        async with trio.open_nursery() as nursery:
            for number, seat in enumerate(seats):
                nursery.start_soon(ask, number, seat)
        if errors:
            failed = [errors[number] for number in sorted(errors)]
            errors.clear()  # who keeps one of them keeps a frame that knows them all
            message = f"{len(failed)} of {len(seats)} workers failed to reply"
            raise ExceptionGroup(message, failed)
        return [replies[number] for number in range(len(seats))]

    # -- the workers

    def __len__(self) -> int:
        """Return how many workers are live."""
        return 0 if self._post is None else len(self._crew.live)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> WorkerRef[M, R]:
        """Return seat ``index``, from 0; negative ones count from the last.

        Raises:
            IndexError: there is no such seat.
            Closed: the pool is not open.
        """
        post = self._seated()
        seats = self._crew.seats
        if not -len(seats) <= index < len(seats):
            message = f"{self._title} has seats 0 to {len(seats) - 1}, got {index}"
            raise IndexError(message)
        return WorkerRef(post, seats[index])

    def __iter__(self) -> Iterator[WorkerRef[M, R]]:
        """Yield the live seats, by index; raises `Closed` if the pool is not open."""
        post = self._seated()
        refs: list[WorkerRef[M, R]] = [WorkerRef(post, seat) for seat in self._crew.live]
        return iter(refs)

    async def start_child(self, **args: object) -> WorkerRef[M, R]:
        """Add a worker to a dynamic pool, and return when it is ready.

        Args:
            args: for its ``handle_init``, over the pool's ``args``.

        Raises:
            TypeError: the pool is not dynamic.
            Closed: the pool is not open, or accepts no more.
            Exception: what ``handle_init`` raised; the pool is as it was.
        """
        post = self._growing("start_child")
        return WorkerRef(post, await self._crew.start_one({**self.args, **args}))

    async def stop_child(self) -> None:
        """End the last worker of a dynamic pool, after the job in hand; others get what waits.

        Returns when it has ended. Stopping the only worker closes the pool, and what waits is
        finished first.

        Raises:
            TypeError: the pool is not dynamic.
            Closed: the pool is not open, or accepts no more.
            RuntimeError: the worker to be stopped asks for it, and would wait for itself.
        """
        self._growing("stop_child")
        if len(self._crew.live) > 1:
            await self._stop(self._crew.live[-1:])
        else:
            self._crew.refuse_own_wait("stop_child()")
            self.close()
            await self._crew.ended.wait_value(True)  # noqa: FBT003

    async def resize(self, size: int) -> None:
        """Start or stop workers of a dynamic pool; return when it has ``size``.

        Those that are missing start at once, as when the pool opens. If one of them fails, or the
        caller is cancelled, those that are ready stay, and the others are given up. While another
        call goes on, the last one counts: the other returns when nothing of it is under way.

        Args:
            size: how many live workers there are to be, at least 1.

        Raises:
            TypeError: the pool is not dynamic, or ``size`` is no int.
            ValueError: ``size`` is less than 1.
            Closed: the pool is not open, or accepts no more.
            RuntimeError: a worker that is to be stopped asks for it.
            Exception: what a ``handle_init`` raised; those that were ready before it stay.
        """
        checks.COUNT("size", size, f"{self._title}.resize")
        self._growing("resize")
        surplus = self._crew.live[size:]
        for seat in surplus:
            inside.refuse_on(seat, "stopping this worker")
        wish, given_up = resizing.begin(self._crew, size)
        await self._stop(surplus)
        for seat in given_up:
            await seat.gone.wait()
        await resizing.grow(self._crew, size, wish, self._start_more)

    async def _start_more(self, count: int) -> None:
        self._growing("resize")
        await self._crew.start_many(self.args, [None] * count)

    async def _stop(self, seats: list[Seat]) -> None:
        for seat in seats:
            inside.refuse_on(seat, "stopping this worker")
        self._crew.retire_all(reversed(seats))
        for seat in reversed(seats):
            seat.leave()
        for seat in seats:
            await seat.gone.wait()
        await trio.lowlevel.checkpoint()

    # -- the end

    def _leaving(self) -> None:
        if self._schedules is not None:
            self._schedules.stop()

    def close(self) -> None:
        """Accept no more. What was accepted is finished; the block goes on."""
        self._require_home()
        if self._post is not None:
            self._post.shut()
        if self._schedules is not None:
            self._schedules.stop()
        super().close()

    def statistics(self) -> ScheduleStatistics:
        """Return the counts of this moment, and those of firings of ``schedules``."""
        firings = (0, 0, 0) if self._schedules is None else self._schedules.counts
        return with_firings(super().statistics(), firings)

    @property
    def report(self) -> ShutdownReport[M]:
        """What became of the jobs of this opening, or of the last one."""
        return cast("ShutdownReport[M]", super().report)

    # -- who may do what

    def _sending(self) -> Post:
        if self._post is None:
            raise self._refusal()
        return self._post

    def _seated(self) -> Post:
        post = self._sending()
        if self._crew.ended.value:
            raise self._refusal()
        return post

    def _growing(self, what: str) -> Post:
        if not self.dynamic:
            message = f"{what} needs dynamic=True, got dynamic=False ({self._title})"
            raise TypeError(message)
        post = self._sending()
        post.require_accepting()
        return post

    def _require_own_inboxes(self, what: str) -> None:
        if self.mode == "available":
            message = (
                f"{what} needs workers with inboxes of their own: "
                f"in mode 'available' all share one ({self._title})"
            )
            raise TypeError(message)
