"""Items to handle in groups, by size, weight or time."""

from __future__ import annotations

import logging
import math
import sys
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypedDict,
    TypeVar,
    cast,
    overload,
)

import trio

from poolder_trio.kernel import inside
from poolder_trio.kernel.batch_ledger import BatchLedger
from poolder_trio.kernel.batch_worker import BatchWorker
from poolder_trio.kernel.batches import Batches
from poolder_trio.kernel.crew import Rules
from poolder_trio.kernel.instruments import INSTRUMENTS, Instruments
from poolder_trio.kernel.intake import Entry, Intake
from poolder_trio.kernel.parcel import Asked, Parcel
from poolder_trio.kernel.runner import check_function
from poolder_trio.kernel.seat import Woken, unprotected
from poolder_trio.kernel.service import Service
from poolder_trio.kernel.stack import Stack
from poolder_trio.kernel.terms import Terms
from poolder_trio.policies import checks
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.retry import Retry
from poolder_trio.policies.slices import SLICES
from poolder_trio.policies.window import Windows

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from typing import TypeAlias

    from typing_extensions import Unpack

    from poolder_trio.abc import Instrument
    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.policies.window import Batch, BatchStream
    from poolder_trio.verdicts import Backoff, ErrorVerdict, Exit, Stop

M = TypeVar("M")
R = TypeVar("R")
T = TypeVar("T")

if TYPE_CHECKING:
    #: What a handler returns for items that were sent by `call`.
    Results: TypeAlias = Sequence[R | Exception] | Sequence[R] | Stop | Exit

_NO_KEY = object()


class _Others(TypedDict, total=False):
    """What `Batcher` takes by keyword, but for what changes the type of its handler."""

    name: str | None
    grace: float
    limit: int
    timeout: float
    reverse: bool
    concurrency: int
    weight: Callable[[Any], float] | None
    max_weight: float
    key: Callable[[Any], Hashable] | None
    retry: Retry
    restart: Restart
    queue: Queue
    priority: str
    hibernate_after: float
    instruments: Sequence[Instrument]


class BatcherOptions(_Others, total=False):
    """What `Batcher` takes by keyword."""

    stream: bool
    indexed: bool


_FUNCTION_OF_ITEM = checks.Check(
    "a function of an item, or None", lambda v: v is None or callable(v)
)
_WEIGHT = checks.Check("a number >= 0", checks.is_number, checks.at_least(0))


class Batcher(Service, Generic[M, R]):
    """Collects items and handles them in batches.

    ::

        async def insert(batch):
            await db.executemany(INSERT, batch)

        async with Batcher(insert, limit=100, timeout=0.5) as batcher:
            await batcher.push(row)

    Leaving the block sends off what is left, waits until all of it was handled, and then nothing
    of the batcher runs. Each item is handled once, in one batch, or is in the `report`.

    Pass ``handle_batch``, or write it in a subclass. It gets a `Batch`: a list with ``reason``
    (``"size"``, ``"timeout"``, ``"weight"``, ``"flush"`` or ``"close"``) and ``key``. For items
    that were sent by `call` it returns a list of one result per item, in order; an ``Exception``
    in such a list fails that item alone. ``Stop(results)`` and ``Exit(results)`` also close the
    batcher. A batch that fails for good fails its callers; if it has none, it is a crash, and
    ``restart`` decides.

    Options are declared in a subclass, as class attributes, or passed.

    Options:
        limit: as many items are a batch.
        timeout: seconds after its first item that a batch is sent off, full or not. By default
            none is: a `call` that is alone in its batch waits for others, for `flush`, or for the
            block to be left.
        reverse: whether batches have the newest item first.
        stream: whether ``handle_batch`` gets an iterator, with the same attributes, not a list.
        indexed: whether batches have pairs ``(index, item)``; indices are positions in the window.
        concurrency: how many batches are handled at once. One that backs off is none of them.
        weight: a function from an item to its weight.
        max_weight: no batch weighs more.
        key: a function from an item to its key: each key has its own window, and own batches.
        retry: a `Retry`: how often a batch is tried; each try gets the same items.
        restart: a `Restart`: what follows when a batch fails that nobody waits for.
        queue: a `Queue`: how many items may wait, in windows and in batches that are not in a
            handler, and what happens beyond. Those of a batch that backs off wait, too. Its order
            is ``"fifo"``. If there is no room for a window to grow and nothing to handle, the
            oldest one is sent off as it is.
        priority: a share of the event loop: see `Worker`.
        hibernate_after: seconds without a batch after which `handle_hibernate` runs.
        name: by which `whereis` finds the batcher.
        grace: seconds that leaving the block waits for accepted items before it cancels them.
        instruments: `Instrument` objects that are told what happens.

    Attributes:
        stack: an ``AsyncExitStack`` that is closed when the batcher has ended: what is entered
            in `handle_init`, a nursery or another component too, is left then.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        **Service.OPTIONS,
        "limit": checks.COUNT,
        "timeout": checks.POSITIVE_SECONDS,
        "reverse": checks.FLAG,
        "stream": checks.FLAG,
        "indexed": checks.FLAG,
        "concurrency": checks.COUNT,
        "weight": _FUNCTION_OF_ITEM,
        "max_weight": checks.Check(
            "a number > 0", checks.is_number, checks.at_least(0, above=True)
        ),
        "key": _FUNCTION_OF_ITEM,
        "retry": checks.instance_of(Retry, "a Retry"),
        "restart": checks.instance_of(Restart, "a Restart"),
        "queue": checks.Check(
            "a Queue of order 'fifo' with max >= 1, as the items of a batch stay in order, and "
            "without timeout and codel: Batcher(timeout=...) bounds how long they are collected",
            lambda v: isinstance(v, Queue),
            lambda v: isinstance(v, Queue) and v.order == "fifo" and v.max >= 1 and not v.ages,
        ),
        "priority": checks.one_of(*SLICES),
        "hibernate_after": checks.POSITIVE_SECONDS,
        "instruments": INSTRUMENTS,
    }
    HOOKS: ClassVar[Iterable[str]] = (
        "handle_init",
        "handle_batch",
        "handle_error",
        "handle_hibernate",
    )

    limit: int = 5
    timeout: float = math.inf
    reverse: bool = False
    stream: bool = False
    indexed: bool = False
    concurrency: int = 1
    weight: Callable[[Any], float] | None = None
    max_weight: float = math.inf
    key: Callable[[Any], Hashable] | None = None
    retry: Retry = Retry()
    restart: Restart = Restart()
    queue: Queue = Queue()
    priority: str = "normal"
    hibernate_after: float = math.inf
    instruments: Sequence[Instrument] = ()

    stack: AsyncExitStack
    _crew: Batches | None  # without a default, as `Functions._box`

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance."""
        super().take(passed)
        self._crew = None

    @overload
    def __init__(self, handle_batch: None = None, **options: Unpack[BatcherOptions]) -> None: ...
    @overload
    def __init__(
        self,
        handle_batch: Callable[[Batch[M]], Awaitable[Results[R]]],
        *,
        stream: Literal[False] = False,
        indexed: Literal[False] = False,
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self,
        handle_batch: Callable[[BatchStream[M]], Awaitable[Results[R]]],
        *,
        stream: Literal[True],
        indexed: Literal[False] = False,
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self,
        handle_batch: Callable[[Batch[tuple[int, M]]], Awaitable[Results[R]]],
        *,
        stream: Literal[False] = False,
        indexed: Literal[True],
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self,
        handle_batch: Callable[[BatchStream[tuple[int, M]]], Awaitable[Results[R]]],
        *,
        stream: Literal[True],
        indexed: Literal[True],
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self: Batcher[T, object],
        handle_batch: Callable[[Batch[T]], Awaitable[object]],
        *,
        stream: Literal[False] = False,
        indexed: Literal[False] = False,
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self: Batcher[T, object],
        handle_batch: Callable[[BatchStream[T]], Awaitable[object]],
        *,
        stream: Literal[True],
        indexed: Literal[False] = False,
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self: Batcher[T, object],
        handle_batch: Callable[[Batch[tuple[int, T]]], Awaitable[object]],
        *,
        stream: Literal[False] = False,
        indexed: Literal[True],
        **options: Unpack[_Others],
    ) -> None: ...
    @overload
    def __init__(
        self: Batcher[T, object],
        handle_batch: Callable[[BatchStream[tuple[int, T]]], Awaitable[object]],
        *,
        stream: Literal[True],
        indexed: Literal[True],
        **options: Unpack[_Others],
    ) -> None: ...
    def __init__(
        self,
        handle_batch: Callable[..., Awaitable[object]] | None = None,
        *positional: object,
        **options: Unpack[BatcherOptions],
    ) -> None:
        """Describe a batcher; entering it with ``async with`` opens it.

        Raises:
            TypeError, ValueError: an option is unknown or wrong, or there is no ``handle_batch``.
        """
        self.refuse_positional(positional, "limit")
        title = type(self).__name__
        if handle_batch is not None:
            check_function(handle_batch)
        elif type(self).handle_batch is Batcher.handle_batch:
            message = (
                f"{title} needs a handle_batch: Batcher(handle_batch), or write it in a subclass"
            )
            raise TypeError(message)
        self._handle_batch = self.handle_batch if handle_batch is None else handle_batch
        self.take(cast("dict[str, object]", options))
        if self.weight is None and self.max_weight < math.inf:
            message = (
                f"max_weight={self.max_weight!r} needs weight, a function of an item ({title})"
            )
            raise ValueError(message)

    def __repr__(self) -> str:
        return f"<{self._title}, {len(self)} wait, {self._stage.name.lower()}>"

    # -- for users to override

    async def handle_init(self) -> None:
        """Prepare the batcher, before its first batch; what it raises fails the entering."""

    # What it gets is a list or an iterator; with this signature, any override may say which.
    async def handle_batch(self, batch: Any, /) -> Any:  # noqa: ANN401
        """Handle a batch; return one result per item, in order, if any was sent by `call`.

        What it raises is a try that failed: `handle_error` is asked.

        Args:
            batch: a `Batch`; with ``stream``, a `BatchStream`.
        """
        raise NotImplementedError

    async def handle_error(
        self,
        batch: Any,  # noqa: ANN401, ARG002
        attempt: int,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
        /,
    ) -> ErrorVerdict | Backoff | None:
        """Say what to do about a try that failed: ``RETRY``, ``Backoff(seconds)``, ``HALT``.

        ``Backoff(seconds, only=items)`` tries only these of the batch again: the others are done,
        and a caller of one gets ``None``. ``None`` does as ``retry`` says. What it raises fails
        the batch.

        Args:
            batch: the batch, as a list, also with ``stream``.
            attempt: which try it was, from 1.
            error: what it failed with.
        """
        return None

    async def handle_hibernate(self) -> None:
        """Rest: runs once when there was no batch for ``hibernate_after`` seconds."""

    # -- what the kernel asks of a component

    async def _prepare(self, stack: AsyncExitStack) -> None:
        # What it enters is left after the component's own nursery, so it is entered before that.
        stack.push(self._grouped)
        self.stack = own = await stack.enter_async_context(Stack())
        await unprotected(self.handle_init)
        own.settle()

    def _grouped(self, _: object, exc: BaseException | None, __: object) -> None:
        """Let what `handle_init` raises leave in a group, as whatever leaves a nursery."""
        if exc is None or isinstance(exc, (trio.Cancelled, BaseExceptionGroup)):
            return
        raise BaseExceptionGroup(f"{self._title}: it could not be opened", [exc])

    async def _start(self, nursery: trio.Nursery) -> Batches:
        log = logging.getLogger("poolder_trio.batcher")
        instruments = Instruments(self, self.instruments, log) if self.instruments else None
        rules = Rules(Queue(max=math.inf), self.restart, shared=True, limit=self.concurrency)
        crew = Batches(self._title, self, rules, nursery, BatchLedger(instruments), log)
        keyed = self.key is not None
        crew.prepare(
            Windows(self.limit, self.timeout, self.max_weight, keyed=keyed),
            Intake(crew, self.queue, self._refusal),
            partial(Parcel, crew, reverse=self.reverse, indexed=self.indexed),
            quick=not keyed and self.weight is None,
        )
        self._crew = self._engine = crew
        if self.hibernate_after < math.inf:
            # A worker that waits for its first batch is idle, too.
            crew.call_in(Woken.TO_LOOK_AGAIN)
        await trio.lowlevel.checkpoint()
        return crew

    def employ(self, seat: Seat) -> BatchWorker:
        """Return what handles batches on a seat; the crew calls this."""
        assert self._crew is not None
        return BatchWorker(self._crew, self, self._handle_batch, seat.index, seat.name)

    def crew_changed(self) -> None:
        """Nothing depends on who is there; the crew calls this."""

    def rests(self, seat: Seat) -> None:
        """Nothing depends on it; the crew calls this."""

    def route_again(self, item: object) -> Mailbox | None:  # noqa: ARG002
        """Return ``None``: when the one mailbox is closed, nothing more is handled."""
        return None

    def _leaving(self) -> None:
        if self._crew is not None:
            self._crew.drain()

    # -- items in

    def push_nowait(self, item: M) -> None:
        """Add ``item`` to the batch that is being collected, without waiting for anything.

        Raises:
            QueueFull: as many as ``queue.max`` wait, and the rule is to wait.
            TooManyRequests: as many as ``queue.max`` wait, and the rule is to refuse.
            ValueError: the item is heavier than ``max_weight``.
            Closed: the batcher is not open, or accepts no more.
        """
        crew = self._crew
        # One append is atomic, for Ctrl-C too: this path needs no protection from it.
        if crew is not None and len(crew.line) < crew.bound:
            crew.line.append(item)
        else:
            self._open().intake.put_nowait([self._entry(item)])

    async def push(self, item: M) -> None:
        """Add ``item``; wait while there is no room, where the rule is to wait.

        Cancelled, it has added nothing. Errors as for `push_nowait`; also:

        Raises:
            RuntimeError: a handler pushes to its own full batcher, and would wait for itself.
        """
        await self._push([self._entry(item)])

    async def push_many(self, items: Iterable[M]) -> None:
        """Add ``items`` in order, with no other item in between.

        Waits for room for the first, then takes all, beyond ``queue.max`` if there are that many.
        Cancelled, it has added none. Errors as for `push`.
        """
        await self._push([self._entry(item) for item in items])

    async def push_front(self, item: M) -> None:
        """Add ``item`` before those that are being collected. Waits and errors as for `push`.

        If it would make their batch too heavy, that is sent off, and the item begins the next.
        """
        await self._push([self._entry(item, front=True)])

    @trio.lowlevel.enable_ki_protection
    async def call(self, item: M) -> R:
        """Add ``item``, and return its own result when its batch was handled.

        A caller that is cancelled takes the item back if it waits. If its batch runs, the caller
        leaves at once; the batch goes on, and the result is dropped. Errors as for `push`; also:

        Raises:
            Exception: what the handler raised, or returned in the place of the result.
            JobError: the item ended otherwise: halted, popped, cut or abandoned.
            RuntimeError: a handler calls its own batcher, and would wait for itself.
        """
        crew = self._open()
        if len(crew.line) < crew.bound and not inside.anywhere():
            asked = Asked(item, crew.in_window)
            crew.was_asked = True
            crew.line.append(asked)
            try:
                return cast("R", await asked.answer())
            finally:
                del asked  # who keeps an error keeps this frame
        entry = self._entry(item)
        asked = Asked(item, crew.in_window, Terms(awaited=True, key=entry.key))
        entry = Entry(asked, entry.key, entry.weight, front=False)
        if not crew.intake.accepting:
            await trio.lowlevel.checkpoint_if_cancelled()
        with inside.waiting_for(crew, crew.room, "a call"):
            await crew.intake.put([entry], "a call")
            try:
                return cast("R", await asked.answer())
            finally:
                del asked, entry  # as above

    @trio.lowlevel.enable_ki_protection
    async def _push(self, entries: Sequence[Entry]) -> None:
        crew = self._open()
        await trio.lowlevel.checkpoint()
        if entries:
            await crew.intake.put(entries, "a push to a full batcher")

    @trio.lowlevel.disable_ki_protection
    def _entry(self, item: M, *, front: bool = False) -> Entry:
        key = None if self.key is None else self.key(item)
        hash(key)  # a key without one is refused here, before anything is added
        weight = 0.0
        if self.weight is not None:
            weight = self.weight(item)
            _WEIGHT("weight(item)", weight, self._title)
            if weight > self.max_weight:
                message = (
                    f"an item must weigh at most max_weight={self.max_weight!r}, "
                    f"got {weight!r} for {item!r} ({self._title})"
                )
                raise ValueError(message)
        return Entry(item, key, weight, front)

    def _open(self) -> Batches:
        self._require_home()
        if self._crew is None or self._crew.ended.value:
            raise self._refusal()
        return self._crew

    # -- items that wait

    def __len__(self) -> int:
        """Return how many items wait: in windows, and in batches that are in no handler."""
        return 0 if self._crew is None else self._crew.waiting

    def __bool__(self) -> bool:
        return True

    def pop_at(self, index: int, *, key: Hashable = _NO_KEY) -> M:
        """Take back the item at ``index`` of those that are being collected, and return it.

        A caller that waits for it gets `JobCancelled`.

        Args:
            index: its position, oldest first, from 0; negative ones count from the newest.
            key: whose window; to be given if, and only if, the batcher has keys.

        Raises:
            IndexError: there is no such item in the window.
            TypeError: ``key`` is missing, or makes no sense.
            Closed: the batcher is not open.
        """
        if (self.key is None) is not (key is _NO_KEY):
            wanted = (
                "takes no key: it has no key=" if self.key is None else "needs key=: it has keys"
            )
            message = f"pop_at {wanted} ({self._title})"
            raise TypeError(message)
        return cast("M", self._open().pop_at(index, None if key is _NO_KEY else key))

    async def flush(self) -> None:
        """Send off what is being collected, and wait until all that waits now was handled.

        A batch that fails is no error here. Cancelled, it stops waiting; the batches go on.

        Raises:
            RuntimeError: a handler of this batcher flushes it, and would wait for itself.
            Closed: the batcher is not open.
        """
        crew = self._open()
        crew.refuse_own_wait("flush()")
        await trio.lowlevel.checkpoint()
        for job in crew.flush():
            if not job.ended:
                await job.wait_done()

    @property
    def report(self) -> ShutdownReport[M]:
        """What became of the items of this opening, or of the last one."""
        return cast("ShutdownReport[M]", super().report)
