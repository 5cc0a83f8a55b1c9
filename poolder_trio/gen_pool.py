"""One logical server: many workers, one state, and a waiting room that refuses what is too much."""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, cast

import attrs
import trio

from poolder_trio.abc import Instrument, StateBackend
from poolder_trio.backends.described import Opened, opened
from poolder_trio.backends.memory import MemoryState
from poolder_trio.errors import QueueFull
from poolder_trio.kernel import inside, interruptible
from poolder_trio.kernel.crew import Crew, Rules
from poolder_trio.kernel.instruments import Instruments
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.ledger import Ledger
from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.post import Post
from poolder_trio.kernel.replies import Info
from poolder_trio.kernel.routing import Router
from poolder_trio.kernel.service import Service, Stage
from poolder_trio.kernel.shared_state import SharedState
from poolder_trio.kernel.state_workers import OwningWorker, SharingWorker, first_state
from poolder_trio.kernel.terms import AWAITED
from poolder_trio.kernel.transactions import Callbacks, Transactions
from poolder_trio.policies import checks
from poolder_trio.policies.broker import Broker
from poolder_trio.policies.restart import Restart
from poolder_trio.pool import Pool

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from types import TracebackType

    from typing_extensions import Never, Unpack
    from typing_extensions import TypeVar as Defaulted

    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.kernel.state_workers import StateWorker
    from poolder_trio.policies.rate import Rate
    from poolder_trio.verdicts import Continue, Directive, Update

    S = Defaulted("S", default=object)
    M = Defaulted("M", default=object)
    R = Defaulted("R", default=object)
else:
    S, M, R = map(TypeVar, "SMR")

_HANDLERS = ("handle_call", "handle_cast", "handle_info", "handle_continue")


class GenPoolOptions(TypedDict, total=False):
    """What `GenPool` takes by keyword."""

    name: str | None
    grace: float
    pool_size: int
    shared_state: bool
    broker: Broker
    backend: StateBackend
    isolation: str
    args: Mapping[str, Any]
    key: Callable[[Any], Hashable] | None
    restart: Restart
    rate: Rate | None
    job_timeout: float
    overrun_warning: float
    instruments: Sequence[Instrument]


@attrs.frozen
class GenPoolWorker:
    """One worker of a `GenPool`, at one moment."""

    #: The number of its seat, from 0: it stays when the worker is replaced.
    index: int
    #: Its name, as in notes on errors and in logs.
    name: str
    #: Whether it has a request in hand.
    busy: bool


def _check_backend(backend: object, shared: object, where: str) -> None:
    if not shared and not isinstance(backend, MemoryState):
        raise ValueError(
            f"backend must be MemoryState() with shared_state=False, got {backend!r}: "
            f"the states of single workers are not stored ({where})"
        )


class GenPool(Service, Generic[S, M, R]):
    """A server with many workers: ask it, tell it, and find its state as atomic as one worker's.

    ::

        class Counter(GenPool[int]):
            async def init(self, start=0):
                return start

            async def handle_call(self, request, state):
                return state, state + 1

        async with Counter(args={"start": 5}) as counter:
            await counter.call("next")

    Leaving the block waits until every accepted request is done; then nothing of it runs.

    ``GenPool[S]`` has states of type ``S``; ``GenPool[S, M, R]`` also takes requests of type ``M``
    and replies with ``R``. Subclass it and write `init` and the handlers that you need. A handler
    is given a state and returns a new one; it must not change the one that it was given. If it
    returns the very same object, the state has not changed; where the backend keeps states as
    bytes, one that was changed all the same is a ``RuntimeError``, and nothing is stored.

    With ``shared_state=True`` each change is atomic, whatever handlers await: one that returns a
    new state is run with the lock, so that nothing changes meanwhile (``isolation="lock"``), or
    beside others, and once more if something did (``isolation="optimistic"``). One that returns an
    `Update` runs beside all others. One that is marked by `reads_state` never waits for the lock.
    A change holds when the backend has stored it, and only then its caller is answered.

    Options are declared in the subclass, as class attributes, or passed.

    Options:
        pool_size: how many workers.
        shared_state: whether all workers have one state; else each has its own, made by its
            ``init``, which ends with it.
        broker: a `Broker`: the waiting room, and who of the idle workers is served first.
        backend: where a shared state is stored: `MemoryState`, `SQLiteState`, `RedisState`, or an
            object with ``load`` and ``store``.
        isolation: ``"lock"`` or ``"optimistic"``: of a handler that loses against others its
            sixth run takes the lock.
        args: keyword arguments for ``init``.
        key: a function from a request to its key, for a broker with ``order="fair"``.
        restart: a `Restart`: what follows when a worker crashes.
        rate: a `Rate` at which handlers start, all workers together.
        job_timeout: seconds after which a handler is cancelled and has failed with `JobTimeout`.
        overrun_warning: seconds after which a running handler is logged, with its stack.
        name: by which `whereis` finds the server.
        grace: seconds that leaving the block waits for accepted requests before it cancels them.
        instruments: `Instrument` objects that are told what happens.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        **{
            name: Pool.OPTIONS[name]
            for name in (
                "pool_size",
                "key",
                "restart",
                "rate",
                "job_timeout",
                "overrun_warning",
                "instruments",
            )
        },
        "args": checks.Check("a dict of init's arguments by name", Pool.OPTIONS["args"].right_type),
        "shared_state": checks.FLAG,
        "broker": checks.instance_of(Broker, "a Broker"),
        "backend": checks.Check(
            "a StateBackend, an object with load() and store(state, expected_version)",
            lambda value: isinstance(value, StateBackend) and not isinstance(value, type),
        ),
        "isolation": checks.one_of("lock", "optimistic"),
    }
    HOOKS: ClassVar[Iterable[str]] = ("init", *_HANDLERS, "terminate")

    pool_size: int = 5
    shared_state: bool = True
    broker: Broker = Broker()
    backend: StateBackend = MemoryState()
    isolation: str = "lock"
    args: Mapping[str, Any] = {}
    key: Callable[[Any], Hashable] | None = None
    restart: Restart = Restart()
    rate: Rate | None = None
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    instruments: Sequence[Instrument] = ()

    # Without defaults, as `Functions._box`.
    _post: Post | None
    #: The same, if there is a handler for what is called, and for what is cast.
    _asking: Post | None
    _telling: Post | None
    _crew: Crew
    _router: Router
    _callbacks: Callbacks
    _transactions: Transactions | None = None
    _state: StateBackend
    _reason: object = None
    _terminated = True
    _over: trio.Event
    _farewell: trio.CancelScope

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types: object) -> object:
            """Return the class for the type of a state, and the types of requests and replies."""
            types = types if isinstance(types, tuple) else (types,)
            if cls is GenPool:
                types += (object,) * (3 - len(types))
            return super().__class_getitem__(types)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.HOOKS:
            # They are called from code that Ctrl-C does not interrupt; they are user code.
            trio.lowlevel.disable_ki_protection(cast("Callable[..., object]", cls.declared(name)))
        _check_backend(cls.declared("backend"), cls.declared("shared_state"), cls.__name__)

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance."""
        super().take(passed)
        self._post = self._asking = self._telling = None

    def __init__(self, *positional: Never, **options: Unpack[GenPoolOptions]) -> None:
        """Describe a server; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or there is no handler.
        """
        self.refuse_positional(positional, "pool_size")
        kind = type(self)
        if all(getattr(kind, name) is getattr(GenPool, name) for name in _HANDLERS):
            message = f"{kind.__name__} needs a handler: write handle_call or handle_cast"
            raise TypeError(message)
        self.take(dict(options))
        _check_backend(self.backend, self.shared_state, kind.__name__)

    def __repr__(self) -> str:
        return f"<{self._title}, {self._stage.name.lower()}>"

    # -- for users to override

    # What it takes is the user's choice; with this signature, type checkers let any override it.
    async def init(self, *args: Any, **kwargs: Any) -> S | Continue[S, R]:  # noqa: ANN401, ARG002  # as above
        """Return the first state; ``args`` come as keyword arguments.

        A shared state has one ``init``, when the server opens and its backend holds no state yet.
        What it raises fails the entering. ``Continue(arg, state=...)`` runs `handle_continue`
        before any request.
        """
        return cast("S", None)

    async def handle_call(
        self, request: M, state: S, /
    ) -> tuple[R | Directive, S] | Update[S, R] | Continue[S, R] | Directive:
        """Return ``(reply, new_state)``; or `Update`, `Continue` or ``Stop(reply)``.

        What it raises is raised at its caller, and the state is as it was.
        """
        raise NotImplementedError(self._lacks("handle_call", "request", request))

    async def handle_cast(
        self, request: M, state: S, /
    ) -> S | Update[S, R] | Continue[S, R] | Directive:
        """Return the new state; or `Update`, `Continue` or ``Stop()``.

        What it raises is a crash of its worker, and the state is as it was.
        """
        raise NotImplementedError(self._lacks("handle_cast", "request", request))

    async def handle_info(
        self,
        message: object,  # noqa: ARG002
        state: S,
        /,
    ) -> S | Update[S, R] | Continue[S, R] | Directive:
        """Handle a message of `send_info`, as `handle_cast` does; by default it is ignored."""
        return state

    async def handle_continue(
        self,
        arg: Any,  # noqa: ANN401  # overrides may say more
        state: S,
        /,
    ) -> S | Update[S, R] | Continue[S, R] | Directive:
        """Go on with what a handler, or `init`, returned as ``Continue(arg)``; as `handle_cast`.

        Its worker runs it before any other request. It counts as a job of its own.
        """
        raise NotImplementedError(self._lacks("handle_continue", "arg", arg))

    async def terminate(self, reason: Any, state: S, /) -> None:  # noqa: ANN401  # overrides may say more
        """Take leave of the state: runs once, when the last worker has ended, however it has.

        With ``shared_state=False``, for each worker at its end. If the server was cancelled from
        outside, what waits in here is cancelled too, as in a ``finally``.

        Args:
            reason: what `stop` was given; ``"normal"`` where the server was closed or left
                otherwise; ``"cancelled"``; or the exception that ended it.
            state: the state at the end.
        """

    # -- what the kernel asks of a component

    async def _prepare(self, stack: AsyncExitStack) -> None:
        self._post = self._asking = self._telling = self._transactions = None
        self._terminated = True  # there is nothing to take leave of
        self._reason = None
        self._farewell, self._over = trio.CancelScope(), trio.Event()
        self._callbacks = Callbacks(self, optimistic=self.isolation == "optimistic")
        if self.shared_state:
            place = interruptible.call(opened, self.backend)
            self._state = await stack.enter_async_context(interruptible.async_context(place))
            stack.push_async_exit(self._take_leave)

    async def _start(self, nursery: trio.Nursery) -> Crew:
        log = logging.getLogger("poolder_trio.gen_pool")
        instruments = Instruments(self, self.instruments, log) if self.instruments else None
        crew = Crew(self._title, self, self._rules(), nursery, Ledger(instruments), log)
        self._crew = self._engine = crew
        self._router = Router(crew, None, self.key, may_be_quick=not self.instruments)
        post = Post(
            crew,
            self._router,
            self._refusal,
            records=bool(self.instruments),
            uses_keys=False,
        )
        if self.shared_state:
            await self._get_state_ready()
        await crew.start(self.pool_size, {} if self.shared_state else self.args)
        self._post = post
        kind = type(self)
        self._asking = None if kind.handle_call is GenPool.handle_call else post
        self._telling = None if kind.handle_cast is GenPool.handle_cast else post
        if self.shared_state:
            nursery.start_soon(self._wait_and_take_leave, name=f"{self._title}: terminate")
        return crew

    def _rules(self) -> Rules:
        return Rules(
            queue=self.broker,
            restart=self.restart,
            shared=True,
            newest_first=self.broker.workers == "lifo",
            rate=self.rate,
            job_timeout=self.job_timeout,
            overrun_warning=self.overrun_warning,
        )

    async def _get_state_ready(self) -> None:
        """Find a state, or make the first one, and do what that is to be continued with."""
        # Backends of ours end each call themselves, within seconds.
        ours = isinstance(self._state, (MemoryState, Opened))
        shared: SharedState[S] = SharedState(
            self._state,
            f"the state of {self._title}",
            alone=isinstance(self._state, MemoryState),
            bounded=ours,
            encode=self._state.encode if isinstance(self._state, Opened) else None,
        )
        transactions = Transactions(shared, self._callbacks.losses)
        following = None
        if not await shared.load():
            state, following = first_state(await self.init(**self.args))
            if not await shared.begin(state):
                following = None  # somebody else was first: this state is none
        self._transactions = transactions
        self._terminated = False
        while following is not None:
            await trio.lowlevel.checkpoint()
            answer = await transactions.run(self._callbacks.next, following.arg, self)
            following = answer.next

    def employ(self, seat: Seat) -> StateWorker:
        """Return a fresh worker for a seat; the server's crew calls this."""
        if self._transactions is not None:
            return SharingWorker(seat, self._callbacks, self._transactions)
        return OwningWorker(seat, self._callbacks, self.init, self._worker_ends)

    def crew_changed(self) -> None:
        """Route among the live seats of this moment; the server's crew calls this."""
        if hasattr(self, "_router"):
            self._router.changed()

    def rests(self, seat: Seat) -> None:
        """Nothing depends on it; the server's crew calls this."""

    def route_again(self, item: object) -> Mailbox | None:
        """Return the mailbox, which all seats share; the server's crew calls this."""
        message, key = (item.message, item.terms.key) if type(item) is Job else (item, None)
        return self._router.route(message, key)

    # -- asking and telling

    # Arguments that are keyword-only would make every call dearer.
    @trio.lowlevel.enable_ki_protection
    async def call(self, request: M, key: Hashable = None, priority: float | None = None) -> R:
        """Send ``request`` to a worker and return what its ``handle_call`` replies.

        The change that comes with the reply is stored when it is returned. A caller that is
        cancelled takes the request back if it waits; if it runs, its handler is cancelled, and if
        that has returned already, the change is stored and the reply returned all the same.

        Args:
            request: what ``handle_call`` is given.
            key: what a broker with ``order="fair"`` goes by; default: ``key(request)``.
            priority: its rank in a broker with ``order="priority"``; greater comes first.

        Raises:
            Exception: what the handler raised, with a note that says where; or the backend.
            JobError: it ended otherwise: cancelled, abandoned, timed out, its worker crashed.
            TooManyRequests: the broker refused or dropped it.
            Closed: the server is not open, or accepts no more.
            RuntimeError: a handler that nothing may change beside calls its own server.
            TypeError: there is no ``handle_call``; or nothing looks at ``key`` or ``priority``.
        """
        post = self._asking
        next_box = None if post is None else post.router.next_box
        if post is None or next_box is None or post.looks_closer or inside.anywhere():
            if post is None:
                raise self._refused("handle_call", request)
            if inside.anywhere() and self._has_turn() and not self._callbacks.call.reads:
                raise self._hopeless("a call")
            return cast("R", await post.call(request, key, priority))
        if key is not None or priority is not None:
            return cast("R", await post.call(request, key, priority))
        # As in `Pool.call`: what is left needs none of the layers below.
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

    async def cast(self, request: M, key: Hashable = None, priority: float | None = None) -> None:
        """Send ``request`` to a worker; wait for room, where the broker's rule is to wait.

        Cancelled, it has sent nothing. A request that was accepted and waits too long is dropped,
        and counted in `statistics`. Arguments and errors as for `call`, but for what its handler
        raises: that is a crash of the worker.
        """
        post = self._telling
        if post is None:
            raise self._refused("handle_cast", request)
        if not (inside.anywhere() and self._has_turn()):
            await post.send(request, key, priority)
            return
        await trio.lowlevel.checkpoint()
        try:
            post.send_nowait(request, key, priority)
        except QueueFull as error:
            raise self._hopeless("a cast to a full broker") from error

    def cast_nowait(self, request: M, key: Hashable = None, priority: float | None = None) -> None:
        """Send ``request`` to a worker, without waiting for anything.

        Arguments and errors as for `cast`; also:

        Raises:
            QueueFull: there is no room, and the broker's rule is to wait for it.
        """
        if self._telling is None:
            raise self._refused("handle_cast", request)
        self._telling.send_nowait(request, key, priority)

    def send_info(self, message: object) -> None:
        """Send what is neither a call nor a cast: `handle_info` gets it. As `cast_nowait`."""
        self._sending().send_nowait(Info(message))

    async def get_state(self, index: int | None = None) -> S:
        """Return the state of this moment, which is stored: it waits for the backend.

        Args:
            index: with ``shared_state=False``, whose state: the number of a seat.

        Raises:
            TypeError: ``index`` is missing there, or given where all have one state.
            IndexError: there is no such seat.
            Closed: the server is not open.
        """
        self._require_entered()
        if (index is None) is not self.shared_state:
            owner = "all workers have one" if self.shared_state else "each worker has its own"
            message = f"get_state with shared_state={self.shared_state}: {owner}, got {index!r}"
            raise TypeError(message)
        await trio.lowlevel.checkpoint()
        if self._transactions is None:
            return self._own_state(cast("int", index))
        shared = self._transactions.shared
        while True:
            look = await shared.look()
            if await shared.holds(look):
                return cast("S", look.state)

    def _own_state(self, index: int) -> S:
        for seat in self._crew.live:
            if seat.index == index:
                assert isinstance(seat.worker, OwningWorker)
                return cast("S", seat.worker.state)
        message = f"{self._title} has no worker {index!r}"
        raise IndexError(message)

    def children(self) -> list[GenPoolWorker]:
        """Return the workers of this moment, by seat; one that replaces another has its seat.

        Raises:
            Closed: the server is not open.
        """
        self._require_entered()
        return [GenPoolWorker(seat.index, seat.name, seat.busy) for seat in self._crew.live]

    # -- the end

    def stop(self, reason: object = "normal") -> None:
        """Accept no more, finish what was accepted, and then `terminate` with ``reason``.

        It returns at once: `wait_closed` waits. The first reason that is given counts.
        """
        self._require_home()
        if self._reason is None:
            self._reason = reason
        self.close()

    def close(self) -> None:
        """Accept no more. What was accepted is finished; the block goes on."""
        self._require_home()
        if self._post is not None:
            self._post.shut()
        super().close()

    def cancel(self) -> None:
        """Accept no more, abandon what waits, and cancel what runs. The block goes on."""
        self._require_home()
        super().cancel()
        if self._engine is not None:
            if self._engine.ended.value:
                self._farewell.cancel()
            elif self._reason is None:
                self._reason = "cancelled"

    async def wait_closed(self) -> None:
        """Wait until the server was closed, its work has ended, and `terminate` has returned."""
        over = self._over if self.shared_state and self._engine is not None else None
        await super().wait_closed()
        if over is not None:
            await over.wait()

    async def _leave(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            # The nursery is about to be cancelled. What is to be said is said after it.
            self._farewell.cancel()
        await super()._leave(exc_type, exc, traceback)

    async def _settled(self) -> None:
        if self.shared_state:
            await self._over.wait()

    async def _wait_and_take_leave(self) -> None:
        """Take leave as soon as the last worker has ended, if nothing went wrong."""
        with self._farewell:
            await self._crew.ended.wait_value(True)  # noqa: FBT003
            await self._say_goodbye(None)

    async def _take_leave(
        self,
        exc_type: type[BaseException] | None,  # noqa: ARG002
        exc: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002
    ) -> None:
        """Take leave when nothing of the server runs any more, if that is still to be done."""
        try:
            await self._say_goodbye(exc)
        except Exception as error:  # noqa: BLE001  # it leaves the block beside what leaves it anyway
            if isinstance(exc, BaseExceptionGroup):
                raise exc.derive([*exc.exceptions, error]) from exc.__cause__
            others = [] if exc is None else [exc]
            text = f"{self._title}: terminate failed"
            raise BaseExceptionGroup(text, [*others, error]) from None
        finally:
            self._over.set()

    async def _say_goodbye(self, exc: BaseException | None) -> None:
        if self._terminated or self._transactions is None:
            return
        self._terminated = True
        try:
            look = await self._transactions.shared.look()
            await self.terminate(self._reason_for(exc), look.state)
        finally:
            self._over.set()

    async def _worker_ends(self, why: BaseException | None, state: S) -> None:
        await self.terminate(self._reason_for(why), state)

    def _reason_for(self, exc: BaseException | None) -> object:
        """Return what is to be told as the reason of the end."""
        while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            (exc,) = exc.exceptions
        if isinstance(exc, Exception):
            return exc
        if self._reason is not None:
            return self._reason
        return "normal" if exc is None else "cancelled"

    @property
    def report(self) -> ShutdownReport[M]:
        """What became of the requests of this opening, or of the last one."""
        return cast("ShutdownReport[M]", super().report)

    # -- who may do what

    def _sending(self) -> Post:
        if self._post is None:
            raise self._refusal()
        return self._post

    def _refused(self, handler: str, request: object) -> Exception:
        """Return why ``request`` cannot be sent: nobody is there, or has such a handler."""
        if self._post is None or self._stage is Stage.ENDED:
            return self._refusal()
        return TypeError(self._lacks(handler, "request", request))

    def _lacks(self, handler: str, what: str, sent: object) -> str:
        kind = type(self).__name__
        return (
            f"{kind} has no {handler}: write async def {handler}(self, {what}, state) "
            f"({describe(sent)})"
        )

    def _require_entered(self) -> None:
        if self._post is None or self._stage is Stage.ENDED:
            raise self._refusal()

    def _has_turn(self) -> bool:
        """Tell whether the code that asks is that of the handler which has the turn."""
        turn = None if self._transactions is None else self._transactions.turn
        return turn is not None and turn.holder is not None and inside.on(turn.holder)

    def _hopeless(self, what: str) -> RuntimeError:
        return RuntimeError(
            f"{what} from inside a handler of {self._title} that nothing may change the state "
            f"beside would wait for that very handler, for ever: return an Update or Continue, "
            f"or do it elsewhere"
        )
