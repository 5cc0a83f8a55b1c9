"""Groups of workers that are made and ended at run time."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, cast, overload

import attrs
import trio

from poolder_trio.errors import DuplicateName
from poolder_trio.kernel import inside, resizing
from poolder_trio.kernel.groups import Child, Groups, role_of
from poolder_trio.kernel.inbox_child import InboxChild
from poolder_trio.kernel.notes import printable
from poolder_trio.kernel.runner import check_function
from poolder_trio.kernel.seat import unprotected
from poolder_trio.kernel.service import Service, Stage
from poolder_trio.kernel.stack import Stack
from poolder_trio.policies import checks
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.restart import Restart
from poolder_trio.pool import WORKER, Pool, WorkerRef, check_constructor
from poolder_trio.worker import Worker, only_answers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from typing import Concatenate

    from trio.abc import ReceiveChannel
    from typing_extensions import Never, Unpack

    from poolder_trio.abc import Dispatch, Instrument
    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.crew import Crew, Rules
    from poolder_trio.kernel.inbox_child import Request
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Handler, Seat
    from poolder_trio.policies.rate import Rate

M = TypeVar("M")
R = TypeVar("R")

_DEFAULT = "default"


class FactoryPoolOptions(TypedDict, total=False):
    """What `FactoryPool` takes by keyword."""

    name: str | None
    grace: float
    mode: str | Dispatch
    seed: int | str | bytes | None
    key: Callable[[Any], Hashable] | None
    queue: Queue
    restart: Restart
    rate: Rate | None
    job_timeout: float
    overrun_warning: float
    instruments: Sequence[Instrument]


class GroupOptions(TypedDict, total=False):
    """What `FactoryPool.start_group` takes by keyword."""

    pool_size: int
    args: Mapping[str, Any]
    grace: float
    mode: str | Dispatch
    seed: int | str | bytes | None
    key: Callable[[Any], Hashable] | None
    queue: Queue
    restart: Restart
    rate: Rate | None
    job_timeout: float
    overrun_warning: float
    instruments: Sequence[Instrument]


class GroupChanges(TypedDict, total=False):
    """What `FactoryPool.configure_group` takes by keyword."""

    pool_size: int
    args: Mapping[str, Any]
    grace: float
    mode: str | Dispatch
    seed: int | str | bytes | None
    key: Callable[[Any], Hashable] | None
    restart: Restart


_SHARED = (
    "mode",
    "seed",
    "key",
    "queue",
    "restart",
    "rate",
    "job_timeout",
    "overrun_warning",
    "instruments",
)


class _Group(Pool[Any, Any]):
    """One group: a dynamic pool, which may be empty, and whose workers may differ in kind."""

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **{name: Pool.OPTIONS[name] for name in ("grace", "args", *_SHARED)},
        "pool_size": checks.NATURAL,
    }
    dynamic = True
    _component = "factory_pool"

    def __init__(
        self, factory: FactoryPool, key: Hashable, options: Mapping[str, object], *, lasting: bool
    ) -> None:
        defaults = {name: getattr(factory, name) for name in ("grace", *_SHARED)}
        self.take({**defaults, **options, "pool_size": 0})
        self.factory, self.group = factory, key
        #: Whether it stays when its last child has gone.
        self.lasting = lasting
        #: What a child is if nothing else is said.
        self.make: Callable[[Seat], Handler] | None = None
        self.opened = trio.Event()
        self.finished = trio.Event()
        self.reason: str | None = None
        #: How many are about to start a child here.
        self.starters = 0

    def __repr__(self) -> str:
        return f"<{self._title}, {self._stage.name.lower()}>"

    @property
    def _title(self) -> str:
        return printable(f"{self.factory.title}/{self.group}")

    # -- what the kernel asks

    @property
    def service(self) -> Service:
        return self

    @property
    def crew(self) -> Crew | None:
        return self._crew if hasattr(self, "_crew") else None

    def _rules(self) -> Rules:
        return attrs.evolve(super()._rules(), family=self.factory.family)

    def employ(self, seat: Seat) -> Worker[Any, Any]:
        worker = role_of(seat).make(seat)
        if not isinstance(worker, InboxChild):
            described = cast("Worker[Any, Any]", worker)
            seat.box.answering = type(described) if only_answers(type(described)) else None
            described.index, described.name, described.pool = seat.index, seat.name, self.factory
        return cast("Worker[Any, Any]", worker)

    def _handles_casts(self) -> bool:
        return False  # one that comes later may not

    def _only(self, box: Mailbox) -> type | None:
        if box is not self._crew.shared:
            return box.answering
        kinds = [type(seat.worker) for seat in self.live]
        return next(iter(kinds), None) if all(map(_answers, kinds)) else None

    def close(self) -> None:
        self._require_home()
        if self.reason is None and not self.factory.family.closing:
            self.reason = "stopped"
        super().close()

    def child_gone(self) -> None:
        self.tidy()

    def group_gone(self) -> None:
        self.finished.set()
        self.factory.forget(self)

    # -- what the factory asks

    @property
    def live(self) -> list[Seat]:
        return [] if self.crew is None else self.crew.live

    def ref(self, seat: Seat) -> WorkerRef[Any, Any]:
        return WorkerRef(self._sending(), seat)

    @trio.lowlevel.enable_ki_protection
    def tidy(self) -> None:
        """Go, if nobody is here, or about to be, and none asked for this group to stay."""
        empty = self.crew is None or not self.crew.seats
        if empty and not self.lasting and not self.starters:
            self.factory.forget(self)
            self.cancel()

    async def hire(
        self, make: Callable[[Seat], Handler], args: Mapping[str, object]
    ) -> WorkerRef[Any, Any]:
        self.starters += 1
        try:
            await self.opened.wait()
            self._growing("start_child")
            seat = await self._crew.start_one({**self.args, **args}, Child(self, make))
        finally:
            self.starters -= 1
            self.tidy()
        return self.ref(seat)

    async def hire_more(self, count: int) -> list[WorkerRef[Any, Any]]:
        """Start so many children of the group's own kind, at once."""
        make = self.make
        assert make is not None
        self.starters += 1
        try:
            await self.opened.wait()
            self._growing("start_child")
            roles = [Child(self, make) for _ in range(count)]
            seats = await self._crew.start_many(self.args, roles)
        finally:
            self.starters -= 1
            self.tidy()
        return [self.ref(seat) for seat in seats]

    @trio.lowlevel.enable_ki_protection
    def end_child(self, seat: Seat) -> None:
        if seat.alive:
            role_of(seat).terminated = True
            self._crew.send_home(seat, self.grace)

    @trio.lowlevel.enable_ki_protection
    def end_all(self) -> None:
        """End the children, each after the job in hand, and then the group."""
        if self.reason == "terminated":
            return
        self.reason = "terminated"
        self.factory.forget(self)
        if self._stage is Stage.OPEN or self._stage is Stage.CLOSING:
            self._crew.wind_up(self.grace)  # first: closing starts what a pause was holding up
            self.close()
        else:
            self.cancel()

    async def wait_finished(self) -> None:
        seats = [] if self.crew is None else list(self.crew.seats)
        for seat in seats:
            inside.refuse_on(seat, "terminating this group")
        self.end_all()
        for seat in seats:
            if seat.opened and not seat.gone.is_set():
                await role_of(seat).down.wait()
        await self.finished.wait()

    def check_change(self, options: Mapping[str, object], where: str) -> None:
        """Raise unless ``options`` can be changed while the group is open."""
        allowed = GroupChanges.__annotations__
        for name, value in options.items():
            if name not in allowed:
                known = ", ".join(sorted(allowed))
                message = f"{where} cannot change {name!r} of an open group; it can: {known}"
                raise TypeError(message)
            self.OPTIONS[name](name, value, where)
        if ("available" in (self.mode, options.get("mode", self.mode))) and (
            options.get("mode", self.mode) != self.mode
        ):
            message = (
                f"{where} cannot change mode {self.mode!r} to {options['mode']!r}: "
                f"in mode 'available' all children share one inbox"
            )
            raise ValueError(message)
        if "pool_size" in options and self.make is None:
            message = f"{where} takes pool_size for groups of start_group(), which says of what"
            raise TypeError(message)

    @trio.lowlevel.enable_ki_protection
    def change(self, options: Mapping[str, object]) -> None:
        for name, value in options.items():
            if name != "pool_size":
                self._put(name, value)
        if "restart" in options:
            self._crew.change(self.restart)
        if {"mode", "seed", "key"} & options.keys():
            picker, uses_keys = self._picker()
            self._sending().change(picker, self.key, uses_keys=uses_keys)


class FactoryPool(Service):
    """Groups of workers, made and ended at run time. Each group is a dynamic pool.

    ::

        async with FactoryPool() as factory:
            echo = await factory.start_child("greeters", Echo)
            await factory.call(echo, "hello")

    A group that `start_child` made goes with its last child; one of `start_group` stays until
    `terminate_group`. All of them live in the factory's own nursery, whoever starts them. A worker
    finds the factory as ``self.pool``.

    Options are declared in a subclass, as class attributes, or passed. All but ``name`` are what
    groups have that are not told otherwise; for what they mean, see `Pool`.

    Options:
        restart: what follows when a child crashes; by default it is logged, and the child is gone.
        mode: which child gets what is dispatched to a group.
        seed: makes mode ``"random"`` repeatable.
        key: a function from a job to its key, for modes and queues that look at keys.
        queue: the waiting room of each child; of a whole group in ``"available"``.
        rate: at which tries start, all children of a group together.
        job_timeout: seconds after which a try is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a running job is logged, with its stack.
        name: by which `whereis` finds the factory.
        grace: seconds that leaving the block waits for accepted jobs before it cancels them, and
            that a child which is terminated has for the job in hand.
        instruments: `Instrument` objects that are told what happens.

    Attributes:
        stack: an ``AsyncExitStack``: what `handle_init` enters in it, a nursery or another
            component too, is left when the accepted work has ended, or once the block is cut.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        **{name: Pool.OPTIONS[name] for name in _SHARED},
    }
    HOOKS: ClassVar[Iterable[str]] = ("handle_init", "handle_down")

    mode: str | Dispatch = "round_robin"
    seed: int | str | bytes | None = None
    key: Callable[[Any], Hashable] | None = None
    queue: Queue = Queue()
    restart: Restart = Restart(mode="temporary")
    rate: Rate | None = None
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    instruments: Sequence[Instrument] = ()

    stack: AsyncExitStack

    _family: Groups

    def __init__(self, *positional: Never, **options: Unpack[FactoryPoolOptions]) -> None:
        """Describe a factory; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong.
        """
        self.refuse_positional(positional, "mode")
        self.take(dict(options))
        self._groups: dict[Hashable, _Group] = {}

    def __repr__(self) -> str:
        return f"<{self._title}, {len(self._groups)} groups, {self._stage.name.lower()}>"

    # -- what the kernel and the groups ask

    async def _start(self, nursery: trio.Nursery) -> Groups:
        self._groups = {}
        self._engine = self._family = Groups(self._title, nursery, self._down)
        await trio.lowlevel.checkpoint()
        return self._family

    async def _furnish(self, stack: AsyncExitStack) -> None:
        self.stack = await stack.enter_async_context(Stack())

    async def _opened(self) -> None:
        await unprotected(self.handle_init)
        cast("Stack", self.stack).settle()

    async def _down(self, seat: Seat, reason: Exception | str) -> None:
        group = role_of(seat).group
        assert isinstance(group, _Group)
        await self.handle_down(group.ref(seat), reason)

    @property
    def title(self) -> str:
        """What it is called in messages: its name, or its class's."""
        return self._title

    @property
    def family(self) -> Groups:
        """What holds its groups together."""
        return self._family

    def forget(self, group: _Group) -> None:
        """Free the name of a group that goes."""
        if self._groups.get(group.group) is group:
            del self._groups[group.group]

    # -- for users to override

    async def handle_init(self) -> None:
        """Run once, when the factory is ready; what it raises fails the entering."""

    async def handle_down(self, ref: WorkerRef[Any, Any], reason: Exception | str) -> None:
        """Run once for each child that has ended, but not for those the factory's own end ends.

        `terminate` and `terminate_group` return after it; while it runs, the factory is not idle.
        What it raises leaves the block.

        Args:
            ref: the child. A child that is replaced after a crash has not ended.
            reason: the exception, if it crashed; ``"exit"``, if it ended by itself;
                ``"terminated"``; ``"stopped"``, if ``Stop`` ended its group.
        """

    # -- groups

    @overload
    async def start_child(
        self, group: Hashable, worker: type[Worker[M, R]], /, **args: object
    ) -> WorkerRef[M, R]: ...
    @overload
    async def start_child(
        self,
        group: Hashable,
        worker: Callable[Concatenate[ReceiveChannel[Request[M, R]], ...], Awaitable[object]],
        /,
        **args: object,
    ) -> WorkerRef[M, R]: ...
    async def start_child(
        self, group: Hashable, worker: object, /, **args: object
    ) -> WorkerRef[Any, Any]:
        """Start a child, and its group if there is none, and return when it is ready.

        Args:
            group: the name of its group; ``None``: ``"default"``.
            worker: a `Worker` subclass, or an async function ``f(inbox, **args)`` that receives
                `Request` objects from its inbox.
            args: for its ``handle_init``, or for the function.

        Raises:
            TypeError, ValueError: ``worker`` is something else.
            Closed: the factory is not open, or accepts no more, or its group has ended meanwhile.
            Exception: what ``handle_init`` raised; everything is as it was.
        """
        make = self._maker(worker, "start_child")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_accepting()
        key = _key(group)
        found = self._groups.get(key)
        if found is None:
            found = self._open(key, {}, lasting=False)
        return await found.hire(make, args)

    async def start_group(
        self,
        group: Hashable,
        worker: type[Worker[Any, Any]] | Callable[..., Awaitable[object]],
        /,
        **options: Unpack[GroupOptions],
    ) -> list[WorkerRef[Any, Any]]:
        """Start a group that stays until `terminate_group`, and return when its children are ready.

        Args:
            group: its name; ``None``: ``"default"``.
            worker: what its children are, as for `start_child`.
            options: ``pool_size``, how many (10 by default), ``args`` for each of them, and what
                a group does otherwise than the factory's options say.

        Raises:
            DuplicateName: there is such a group.
            TypeError, ValueError: an option is unknown or wrong.
            Closed: the factory is not open, or accepts no more.
            Exception: what a ``handle_init`` raised; the group is ended again.
        """
        passed: dict[str, object] = dict(options)
        make = self._maker(worker, "start_group")
        size = passed.pop("pool_size", Pool.pool_size)
        checks.COUNT("pool_size", size, f"{self._title}.start_group")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_accepting()
        key = _key(group)
        if key in self._groups:
            message = f"{self._title} has a group {key!r} already: configure_group() changes it"
            raise DuplicateName(message)
        opened = self._open(key, passed, lasting=True)
        opened.make = make
        ready = False
        try:
            refs = await opened.hire_more(cast("int", size))
            ready = True
        finally:
            if not ready:
                opened.end_all()
        return refs

    async def configure_group(self, group: Hashable, /, **options: Unpack[GroupChanges]) -> None:
        """Change a group while it works: the next job, crash or child goes by it.

        Waits until the children that it starts are ready, and those that it ends have ended.

        Args:
            group: its name; ``None``: ``"default"``.
            options: ``mode``, ``seed``, ``key``, ``restart``, ``grace``, ``args``, and
                ``pool_size``: children are started, or the last ones terminated, until there are
                so many.

        Raises:
            LookupError: there is no such group.
            TypeError, ValueError: an option is wrong, or cannot be changed; nothing is.
            RuntimeError: a child that is to be terminated asks for it.
        """
        passed: dict[str, object] = dict(options)
        await trio.lowlevel.checkpoint_if_cancelled()
        found = self._find_group(group)
        found.check_change(passed, f"{self._title}.configure_group")
        found.starters += 1
        try:
            await found.opened.wait()
            found.change(passed)
            if "pool_size" in passed:
                await self._resize(found, cast("int", passed["pool_size"]))
        finally:
            found.starters -= 1
            found.tidy()

    async def _resize(self, group: _Group, size: int) -> None:
        surplus = group.live[size:]
        for seat in surplus:
            inside.refuse_on(seat, "terminating this child")
        crew = group.crew
        assert crew is not None
        wish, given_up = resizing.begin(crew, size)
        for seat in reversed(surplus):
            group.end_child(seat)
        for seat in (*surplus, *given_up):
            await role_of(seat).down.wait()
        await resizing.grow(crew, size, wish, group.hire_more)

    def count(self, group: Hashable = None) -> int:
        """Return how many children a group has that jobs can be sent to; 0 if there is none.

        Args:
            group: its name; ``None``: ``"default"``.
        """
        found = self._groups.get(_key(group))
        return 0 if found is None else len(found.live)

    def count_all(self) -> int:
        """Return how many children there are in all groups."""
        return sum(len(group.live) for group in self._groups.values())

    def children(self, group: Hashable = None) -> list[WorkerRef[Any, Any]]:
        """Return the children of a group, by index; without ``group``, those of all groups.

        Raises:
            Closed: the factory is not open.
        """
        self._require_open()
        if group is None:
            return [each.ref(seat) for each in self._groups.values() for seat in each.live]
        found = self._groups.get(group)
        return [] if found is None else [found.ref(seat) for seat in found.live]

    # -- sending

    async def call(
        self,
        ref: WorkerRef[M, R],
        request: M,
        *,
        group: Hashable = None,
        key: Hashable = None,
        priority: float | None = None,
    ) -> R:
        """Send ``request`` to a child and return its reply; see `Pool.call`.

        Args:
            ref: the child.
            request: the message; its ``handle_call`` gets it.
            group: the group that the child has to be of; ``None``: any.
            key: what a queue that looks at keys goes by.
            priority: its rank in a queue with ``order="priority"``.

        Raises:
            LookupError: ``ref`` is not of that group, or not of this factory.
            Closed: the child has ended.
            Exception: what the handler raised, or how the job ended otherwise.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._guard(ref, group)
        return await ref.call(request, key=key, priority=priority)

    async def cast(
        self,
        ref: WorkerRef[M, Any],
        job: M,
        *,
        group: Hashable = None,
        key: Hashable = None,
        priority: float | None = None,
    ) -> None:
        """Send ``job`` to a child; wait while its inbox is full, where the rule is to wait.

        Arguments as for `call`; see `Pool.cast` for what else it raises.

        Raises:
            LookupError: ``ref`` is not of that group, or not of this factory.
            Closed: the child has ended.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._guard(ref, group)
        await ref.cast(job, key=key, priority=priority)

    async def dispatch(
        self,
        group: Hashable,
        job: object,
        *,
        key: Hashable = None,
        priority: float | None = None,
    ) -> None:
        """Send ``job`` to one child of a group, which its mode picks; see `Pool.cast`.

        Raises:
            LookupError: there is no such group, or nobody in it.
            Closed: its last child ended while this waited for room.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        found = self._find_group(group)
        if not found.live:
            message = f"{self._title}: group {_key(group)!r} has no children to dispatch to"
            raise LookupError(message)
        await found.cast(job, key=key, priority=priority)

    async def broadcast(
        self,
        group: Hashable,
        job: object,
        *,
        key: Hashable = None,
        priority: float | None = None,
    ) -> None:
        """Send ``job`` to every child of a group; see `Pool.broadcast`.

        Raises:
            LookupError: there is no such group.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        found = self._find_group(group)
        await found.opened.wait()
        await found.broadcast(job, key=key, priority=priority)

    # -- ending children

    async def terminate(self, ref: WorkerRef[Any, Any]) -> None:
        """End a child after the job in hand, which is cancelled after ``grace`` seconds.

        What waits for it goes to others of its group, or is abandoned if there are none. Returns
        when it has ended and `handle_down` has run. Cancelled, it does not wait for that.

        Raises:
            LookupError: it has ended, or is not of this factory.
            RuntimeError: the child itself asks, and would wait for itself.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        found = self._guard(ref, None)
        seat = ref.seat
        if seat.gone.is_set():
            message = f"{seat.name} has ended already"
            raise LookupError(message)
        inside.refuse_on(seat, "terminating this child")
        found.end_child(seat)
        await role_of(seat).down.wait()

    async def terminate_group(self, group: Hashable = None) -> None:
        """End a group and its children, each after the job in hand, within ``grace`` seconds.

        What waits is abandoned. From the call on there is no such group: one that is started
        under its name is another.

        Raises:
            LookupError: there is no such group.
            RuntimeError: one of its children asks, and would wait for itself.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_open()
        key = _key(group)
        found = self._groups.get(key)
        if found is not None:
            await found.wait_finished()
            return
        ending = [
            each
            for each in self._family.members
            if isinstance(each, _Group) and each.group == key and each.reason == "terminated"
        ]
        for each in ending or [self._find_group(group)]:
            await each.wait_finished()

    # -- the end

    @property
    def report(self) -> ShutdownReport[object]:
        """What became of the jobs of all groups of this opening, or of the last one."""
        return self._family.total().report() if self._engine is not None else super().report

    # -- who may do what

    def _require_open(self) -> None:
        if self._stage not in (Stage.OPEN, Stage.CLOSING):
            raise self._refusal()

    def _require_accepting(self) -> None:
        if self._stage is not Stage.OPEN:
            raise self._refusal()

    def _open(self, key: Hashable, options: Mapping[str, object], *, lasting: bool) -> _Group:
        group = _Group(self, key, options, lasting=lasting)
        self._groups[key] = group
        self._family.open(group)
        return group

    def _find_group(self, group: Hashable) -> _Group:
        self._require_open()
        try:
            return self._groups[_key(group)]
        except KeyError:
            known = ", ".join(map(repr, self._groups)) or "none"
            message = f"{self._title} has no group {_key(group)!r}; it has: {known}"
            raise LookupError(message) from None

    def _guard(self, ref: WorkerRef[Any, Any], group: Hashable) -> _Group:
        """Return the group of ``ref``; raise ``LookupError`` if it is another than ``group``."""
        self._require_open()
        role = ref.seat.role if isinstance(ref, WorkerRef) else None
        its = role.group if isinstance(role, Child) else None
        if not isinstance(its, _Group) or its.factory is not self:
            message = f"{ref!r} is no child of {self._title}"
            raise LookupError(message)
        if group is not None and its.group != group:
            message = f"{ref!r} is of group {its.group!r}, not of {group!r}"
            raise LookupError(message)
        return its

    def _maker(self, worker: object, where: str) -> Callable[[Seat], Handler]:
        where = f"{self._title}.{where}"
        if isinstance(worker, type):
            WORKER("worker", worker, where)
            check_constructor(cast("type[Worker[Any, Any]]", worker), where)
            return partial(_make_worker, cast("type[Worker[Any, Any]]", worker))
        check_function(worker)
        return partial(_make_inbox_child, cast("Callable[..., Awaitable[object]]", worker))


def _key(group: Hashable) -> Hashable:
    return _DEFAULT if group is None else group


def _answers(kind: type) -> bool:
    return issubclass(kind, Worker) and only_answers(kind)


def _make_worker(worker: type[Worker[Any, Any]], _: Seat) -> Handler:
    return worker()


def _make_inbox_child(fn: Callable[..., Awaitable[object]], seat: Seat) -> Handler:
    return InboxChild(seat, fn)
