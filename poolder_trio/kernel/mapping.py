"""One function over many inputs: read lazily, run together, received as they are done."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import outcome
import trio

from poolder_trio.errors import QueueFull, TooManyRequests
from poolder_trio.kernel import aside
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.lanes import Entry, Lanes
from poolder_trio.kernel.mailbox import NO_BOX
from poolder_trio.kernel.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType
    from typing import NoReturn

S = TypeVar("S")
T = TypeVar("T")

#: How many inputs are sent off before others have the event loop.
_BURST = 64
_BROKEN = "this map has failed, or was cancelled: its block says with what"


class Mapped(Generic[S, T]):
    """An ``async with`` that gives a channel of results; see `Tasker.map`.

    The tasks of its nursery own the jobs: each lives until the block is left or cancelled, then
    cancels what runs, and waits for it. So the nursery is open for as long as any job may fail.

    Args:
        submit_nowait: sends one input with its key off, or raises `QueueFull`.
        submit: sends one input with its key off; may wait for room.
        ahead: returns how many inputs may be read ahead of the results received.
        guard: what surrounds the block.
        maps: the open maps, which are told when they may read further ahead.
        inputs: any iterable or async iterable.
        key: returns the key of an input; ``None``: they have none.
        limit_per_key: how many of one key may run at once.
        ordered: whether results come in the order of the inputs.
        outcomes: whether results are outcomes.
    """

    def __init__(
        self,
        submit_nowait: Callable[[S, Hashable], Job[Any]],
        submit: Callable[[S, Hashable], Awaitable[Job[Any]]],
        ahead: Callable[[], int],
        guard: Callable[[], AbstractContextManager[None]],
        *,
        maps: set[Mapped[Any, Any]],
        inputs: Iterable[S] | AsyncIterable[S],
        key: Callable[[S], Hashable] | None,
        limit_per_key: int | None,
        ordered: bool,
        outcomes: bool,
    ) -> None:
        self._submit_nowait = submit_nowait
        self._submit = submit
        self._ahead = ahead
        self._guard = guard
        self._maps = maps
        self._inputs = inputs
        self._key = key
        self._lanes: Lanes[S] | None = None
        if key is not None and limit_per_key is not None:
            self._lanes = Lanes(limit_per_key)
        self._ordered = ordered
        self._outcomes = outcomes
        self._outlet: Outlet[Any]
        self._guarding: AbstractContextManager[None]
        self._opened: AbstractAsyncContextManager[trio.Nursery]
        self._nursery: trio.Nursery
        self._leaving = False
        #: How many inputs were read whose results were not received.
        self._unreceived = 0
        #: Of these, how many results wait for their turn behind a key that is full.
        self._early = 0
        self._room = trio.lowlevel.ParkingLot()
        self._all_read = False
        self._running: dict[Job[Any], None] = {}
        self._in_order: deque[Entry[S]] = deque()
        self._stopped = trio.lowlevel.ParkingLot()

    if not TYPE_CHECKING:

        def _misused(self, *_: object) -> NoReturn:
            raise TypeError(
                "map gives an `async with` block: async with pool.map(fn, inputs) as results: "
                "async for result in results: ..."
            )

        __aiter__ = __iter__ = __await__ = __enter__ = _misused

        def __exit__(self, *_: object) -> None:
            """Nothing was entered."""

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> trio.abc.ReceiveChannel[T]:
        # The only checkpoint: whoever is cancelled in here has begun nothing.
        await trio.lowlevel.checkpoint()
        self._guarding = self._guard()
        self._guarding.__enter__()
        self._maps.add(self)
        # Both by hand: an exit stack would keep each error that passes it, in a circle.
        self._opened = trio.open_nursery()
        self._nursery = await self._opened.__aenter__()
        self._outlet = Outlet(self._taken)
        self._nursery.start_soon(self._own, self._read, name="poolder_trio map")
        if self._lanes is not None:
            self._nursery.start_soon(self._own, self._send_held, name="poolder_trio map")
        return self._outlet

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._outlet.close()
        self._stop()
        try:
            return await self._opened.__aexit__(exc_type, exc, traceback)
        finally:
            self._maps.discard(self)
            self._guarding.__exit__(None, None, None)
            del exc, traceback  # who keeps the error keeps this frame

    async def _own(self, part: Callable[[], Awaitable[None]]) -> None:
        """Do a part of what is to be done, and be there until no job of this map is."""
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            await part()
            await trio.sleep_forever()
        finally:
            self._stop()
            await self._until_all_ended()

    @trio.lowlevel.enable_ki_protection
    async def _until_all_ended(self) -> None:
        """Wait until no handler runs: as a nursery waits for its children, cancelled or not."""
        with trio.CancelScope(shield=True):
            while self._running:
                await self._stopped.park()

    @trio.lowlevel.enable_ki_protection
    def _stop(self) -> None:
        """Cancel all of this map: no result of it is wanted any more, or will come."""
        if self._leaving:
            return
        self._leaving = True
        # Before the channel breaks: who is in the block is cancelled, and only others are told.
        self._nursery.cancel_scope.cancel()
        self._outlet.break_off(_BROKEN)
        # One of several that end together may have told this: the others are to end by themselves.
        aside.call(self._cancel_all)

    def _cancel_all(self) -> None:
        for job in tuple(self._running):
            job.cancel()

    # -- what goes in

    async def _read(self) -> None:
        if isinstance(self._inputs, AsyncIterable):
            await self._read_from(aiter(self._inputs))
        else:
            iterator = iter(self._inputs)
            await self._place()
            for item in iterator:
                await self._take_in(item)
                await self._place()
        self._unreceived -= 1  # the place that no input has come for
        self._room.unpark_all()
        self._all_read = True
        self._end_if_done()

    async def _read_from(self, iterator: AsyncIterator[S]) -> None:
        try:
            await self._place()
            async for item in iterator:
                await self._take_in(item)
                await self._place()
        finally:
            # One that is left in the middle is not left to the garbage collector.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    async def _place(self) -> None:
        """Wait until one more input may be read. What was read before goes first."""
        lanes = self._lanes
        while self._is_full() or (lanes is not None and not lanes.has_room(self._early)):
            await self._room.park()
        self._unreceived += 1
        if not self._unreceived % _BURST:
            await trio.lowlevel.checkpoint()

    def _is_full(self) -> bool:
        """Tell whether as many run, or were not received, as may."""
        held = self._early if self._lanes is None else self._early + self._lanes.held
        return self._unreceived - held >= self._ahead()

    async def _take_in(self, item: S) -> None:
        entry = Entry(item, None if self._key is None else self._key(item))
        if self._ordered:
            self._in_order.append(entry)
        if self._lanes is None or self._lanes.enter(entry):
            await self._send(entry)

    async def _send_held(self) -> None:
        """Send what waited for its key, as far as keys are free again."""
        lanes = self._lanes
        assert lanes is not None
        while True:
            while not lanes.ready or self._is_full():
                await self._room.park()
            await self._send(lanes.pop())
            self._room.unpark_all()  # who reads lets those go first that are ready

    # A job is accepted and followed, or neither: Ctrl-C does not come in between.
    @trio.lowlevel.enable_ki_protection
    async def _send(self, entry: Entry[S]) -> None:
        try:
            try:
                job = self._submit_nowait(entry.item, entry.key)
            except QueueFull:
                job = await self._submit(entry.item, entry.key)
        except TooManyRequests as refusal:
            # What came of this input, like anything else that a queue drops.
            job = record(entry.item, NO_BOX)
            job.settle("dropped", refusal)
        self._follow(entry, job)

    def _follow(self, entry: Entry[S], job: Job[Any]) -> None:
        entry.job = job
        self._running[job] = None
        if self._leaving:
            job.cancel()
        if job.ended:
            self._ended(entry, job)
        else:
            job.watch(self, partial(self._ended, entry, job))

    # -- what comes out

    def _ended(self, entry: Entry[S], job: Job[Any]) -> None:
        del self._running[job]
        if self._lanes is not None:
            self._lanes.leave(entry)
        if self._ordered:
            self._deliver_in_order()
        else:
            self._deliver(job)
        if self._lanes is not None:
            self._room.unpark_all()
        if not self._running:
            self._stopped.unpark_all()
        self._end_if_done()

    def _deliver_in_order(self) -> None:
        is_early = self._lanes is not None
        self._early += is_early
        while self._in_order and (job := self._in_order[0].job) is not None and job.ended:
            self._in_order.popleft()
            self._early -= is_early
            self._deliver(job)

    def _deliver(self, job: Job[Any]) -> None:
        result = job.outcome()
        if self._leaving:
            return
        if self._outcomes:
            self._outlet.put(result)
        elif isinstance(result, outcome.Value):
            self._outlet.put(result.value)
        else:
            self._nursery.start_soon(_unwrap, result)
            self._stop()

    def _end_if_done(self) -> None:
        held = self._lanes is not None and self._lanes.held
        if self._all_read and not (self._running or held or self._leaving):
            self._outlet.end()

    def look_again(self) -> None:
        """Note that another number of inputs may be read ahead."""
        self._room.unpark_all()

    def _taken(self, _: object) -> None:
        self._unreceived -= 1
        self._room.unpark_all()


async def _unwrap(result: outcome.Outcome[Any]) -> None:
    try:
        result.unwrap()
    finally:
        del result  # who keeps the error keeps this frame
