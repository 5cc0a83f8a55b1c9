"""Components that run functions: what they share, whatever they call it."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import trio

from poolder_trio.abc import Executor, Instrument
from poolder_trio.kernel import inside, interruptible
from poolder_trio.kernel.contexts import Snapshots
from poolder_trio.kernel.crew import Rules
from poolder_trio.kernel.function_seat import FunctionCrew
from poolder_trio.kernel.instruments import INSTRUMENTS, Instruments
from poolder_trio.kernel.job import Call, Job
from poolder_trio.kernel.ledger import Ledger
from poolder_trio.kernel.mailbox import NO_BOX
from poolder_trio.kernel.mapping import Mapped
from poolder_trio.kernel.post import Post
from poolder_trio.kernel.routing import Router
from poolder_trio.kernel.runner import Runner, check_function
from poolder_trio.kernel.service import Service
from poolder_trio.policies import checks
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.rate import RATE, Rate
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Hashable,
        Mapping,
        Sequence,
    )
    from contextlib import AsyncExitStack

    from poolder_trio.abc import Run
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.verdicts import Backoff, ErrorVerdict


_NONE_YET = object()


class Functions(Service):
    """Base of the components that run functions, at most so many at once."""

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        "queue": checks.instance_of(Queue, "a Queue"),
        "rate": RATE,
        "executor": checks.Check(
            "an Executor, such as ThreadExecutor(), or None",
            lambda v: v is None or (isinstance(v, Executor) and not isinstance(v, type)),
        ),
        "retry": checks.instance_of(Retry, "a Retry"),
        "restart": checks.instance_of(Restart, "a Restart"),
        "limit_per_key": checks.Check(
            "an int >= 1 or None",
            lambda v: v is None or checks.is_int(v),
            lambda v: v is None or checks.at_least(1)(v),
        ),
        "job_timeout": checks.POSITIVE_SECONDS,
        "overrun_warning": checks.POSITIVE_SECONDS,
        "hibernate_after": checks.POSITIVE_SECONDS,
        "instruments": INSTRUMENTS,
    }
    HOOKS: ClassVar[Iterable[str]] = ("handle_error",)
    KIND: ClassVar[str]
    #: Whether what was accepted and has not ended is bounded by the component itself.
    BOUNDED: ClassVar[bool] = False

    queue: Queue = Queue()
    rate: Rate | tuple[Rate, ...] | None = None
    executor: Executor | None = None
    retry: Retry = Retry()
    restart: Restart = Restart()
    limit_per_key: int | None = None
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    hibernate_after: float = math.inf
    instruments: Sequence[Instrument] = ()

    _post: Post | None = None
    _router: Router | None = None
    _crew: Crew | None = None
    _run: Run | None = None
    #: The maps that are open: they look at the limit, too.
    _maps: set[Mapped[Any, Any]]
    # CPython finds an attribute of an instance faster where the class has none of that name.
    #: Where functions may be put by hand; `NO_BOX` where there is more to it.
    _box: Mailbox
    #: The last function that was found to be one that can run here.
    _checked: object
    #: The contexts of those who submit.
    _contexts: Snapshots

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance."""
        super().take(passed)
        self._box, self._checked, self._contexts = NO_BOX, _NONE_YET, Snapshots()

    def _put(self, name: str, value: object) -> None:
        for alias in self.LIMITS if name in self.LIMITS else (name,):
            super()._put(alias, value)

    def _set_live(self, name: str, value: object) -> None:
        self._require_home()
        self.OPTIONS[self.LIMITS[0]](name, value, type(self).__name__)
        self._put(name, value)
        if self._crew is not None:
            self._crew.set_limit(cast("int", value))
            for each in self._maps:
                each.look_again()

    async def handle_error(
        self,
        call: Call,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
        /,
    ) -> ErrorVerdict | Backoff | None:
        """Say what to do about a try that failed: ``RETRY``, ``Backoff(seconds)``, ``HALT``.

        ``None`` does as ``retry`` says. What it raises fails the job.

        Args:
            call: what was to be called: ``call.fn`` and ``call.args``.
            attempt: which try it was, from 1.
            error: what it failed with.
        """
        return None

    # -- what the kernel asks of a component

    async def _prepare(self, stack: AsyncExitStack) -> None:
        if self.executor is not None:
            place = interruptible.call(self.executor.open, idle=self.hibernate_after)
            self._run = await stack.enter_async_context(interruptible.async_context(place))

    async def _start(self, nursery: trio.Nursery) -> Crew:
        log = logging.getLogger(f"poolder_trio.{self.KIND}")
        instruments = Instruments(self, self.instruments, log) if self.instruments else None
        rules = Rules(
            queue=self.queue,
            restart=self.restart,
            shared=True,
            rate=self.rate,
            job_timeout=self.job_timeout,
            overrun_warning=self.overrun_warning,
            limit=cast("int", getattr(self, self.LIMITS[0])),
            limit_per_key=self.limit_per_key,
            bounded=self.BOUNDED,
        )
        crew = FunctionCrew(self._title, self, rules, nursery, Ledger(instruments), log)
        crew.forget = self._forget
        records = bool(self.instruments)
        router = Router(crew, None, None, may_be_quick=not records)
        self._crew, self._engine, self._router, self._maps = crew, crew, router, set()
        self._post = Post(crew, router, self._refusal, records=records, uses_keys=False)
        assert crew.shared is not None
        if not (records or self._post.looks_closer or self.executor):
            self._box = crew.shared
        await trio.lowlevel.checkpoint()
        return crew

    def employ(self, seat: Seat) -> Runner:
        """Return what runs functions on a seat; the crew calls this."""
        return Runner(seat, self.retry, self.hibernate_after, self.handle_error, self._run)

    def crew_changed(self) -> None:
        """Nothing depends on who is there; the crew calls this."""

    def rests(self, seat: Seat) -> None:
        """Let go of the last job's function and context; the crew calls this."""
        cast("Runner", seat.worker).rest()
        self._forget()

    def _forget(self) -> None:
        self._checked = _NONE_YET
        self._contexts.forget()
        if self._post is not None:
            self._post.forget()

    def route_again(self, item: object) -> Mailbox | None:  # noqa: ARG002
        """Return ``None``: when the one mailbox is closed, nothing more is run."""
        return None

    def close(self) -> None:
        """Accept no more. What was accepted is finished; the block goes on."""
        self._require_home()
        self._box = NO_BOX
        if self._post is not None:
            self._post.shut()
        super().close()

    def _end(self) -> None:
        self._crew, self._checked, self._contexts = None, _NONE_YET, Snapshots()
        super()._end()

    # -- sending

    def _sending(self) -> Post:
        if self._post is None:
            raise self._refusal()
        return self._post

    def _check(self, fn: Callable[..., object]) -> None:
        if self.executor is None:
            check_function(fn)
        else:
            self.executor.check(fn)
        # It is let go of when a worker rests; where none is up, none will.
        if self._crew is not None and self._crew.awake:
            self._checked = fn

    def _call(self, fn: Callable[..., object], args: tuple[object, ...]) -> Call:
        if fn is not self._checked:
            self._check(fn)
        return Call(fn, args, self._contexts.take())

    async def _submit(
        self,
        fn: Callable[..., object],
        args: tuple[object, ...],
        key: Hashable,
        priority: float | None,
    ) -> Job[Any]:
        sent = await self._sending().send(self._call(fn, args), key, priority, awaited=True)
        return cast("Job[Any]", sent)

    def _map(
        self,
        fn: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Hashable] | None,
        ordered: bool,
        outcomes: bool,
    ) -> Mapped[Any, Any]:
        self._check(fn)
        if not isinstance(inputs, (Iterable, AsyncIterable)):
            raise TypeError(f"map needs an iterable or async iterable of inputs, got {inputs!r}")
        self._sending().require_accepting()
        crew = self._crew
        assert crew is not None
        assert crew.shared is not None

        def submit_nowait(item: object, its_key: Hashable) -> Job[Any]:
            sent = self._sending().send_nowait(self._call(fn, (item,)), its_key, awaited=True)
            return cast("Job[Any]", sent)

        def submit(item: object, its_key: Hashable) -> Awaitable[Job[Any]]:
            return self._submit(fn, (item,), its_key, None)

        def ahead() -> int:
            return cast("int", getattr(self, self.LIMITS[0]))

        guard = partial(inside.waiting_for, crew, crew.shared, "a map")
        return Mapped(
            submit_nowait,
            submit,
            ahead,
            guard,
            maps=self._maps,
            inputs=inputs,
            key=key,
            limit_per_key=self.limit_per_key,
            ordered=ordered,
            outcomes=outcomes,
        )
