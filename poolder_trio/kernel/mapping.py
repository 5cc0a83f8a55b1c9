"""One function over many inputs: read lazily, run together, received as they are done."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import outcome
import trio

from poolder_trio.errors import QueueFull, TooManyRequests
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.mailbox import NO_BOX
from poolder_trio.kernel.outlet import Outlet
from poolder_trio.kernel.waiters import parked, stay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager
    from types import TracebackType

S = TypeVar("S")
T = TypeVar("T")

#: How many inputs are sent off before others have the event loop.
_BURST = 64


class Mapped(Generic[S, T]):
    """An ``async with`` that gives a channel of results; see `Tasker.map`.

    Args:
        submit_nowait: sends one input off, or raises `QueueFull`.
        submit: sends one input off; may wait for room.
        ahead: returns how many inputs may be read ahead of the results received.
        guard: what surrounds the block.
        maps: the open maps, which are told when they may read further ahead.
        inputs: any iterable or async iterable.
        ordered: whether results come in the order of the inputs.
        outcomes: whether results are outcomes.
    """

    def __init__(  # noqa: PLR0917  # what `Tasker.map` is called with, and what it is to call
        self,
        submit_nowait: Callable[[S], Job[Any]],
        submit: Callable[[S], Awaitable[Job[Any]]],
        ahead: Callable[[], int],
        guard: Callable[[], AbstractContextManager[None]],
        maps: set[Mapped[Any, Any]],
        inputs: Iterable[S] | AsyncIterable[S],
        ordered: bool,  # noqa: FBT001
        outcomes: bool,  # noqa: FBT001
    ) -> None:
        self._submit_nowait = submit_nowait
        self._submit = submit
        self._ahead = ahead
        self._guard = guard
        self._maps = maps
        self._inputs = inputs
        self._ordered = ordered
        self._outcomes = outcomes
        self._outlet: Outlet[Any] = Outlet(self._taken)
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery
        self._leaving = False
        #: How many inputs were read whose results were not received.
        self._unreceived = 0
        self._room = trio.lowlevel.ParkingLot()
        self._all_read = False
        self._running: dict[Job[Any], None] = {}
        self._in_order: deque[Job[Any]] = deque()
        self._last: trio.lowlevel.Task | None = None

    async def __aenter__(self) -> trio.abc.ReceiveChannel[T]:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._guard())
            self._maps.add(self)
            stack.callback(self._maps.discard, self)
            stack.push_async_callback(self._until_all_ended)
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            self._nursery.start_soon(self._feed, name="poolder_trio map")
            await trio.lowlevel.checkpoint()
            self._stack = stack.pop_all()
        return self._outlet

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._outlet.close()
        self._nursery.cancel_scope.cancel()
        self._cancel()
        return await self._stack.__aexit__(exc_type, exc, traceback)

    def _cancel(self) -> None:
        """Cancel what runs of this map; no result of it is wanted any more."""
        self._leaving = True
        for job in tuple(self._running):
            job.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _until_all_ended(self) -> None:
        """Wait until no handler runs: as a nursery waits for its children, cancelled or not."""
        if self._running:
            await parked(self._wait_for_last, stay)

    def _wait_for_last(self, task: trio.lowlevel.Task) -> None:
        self._last = task

    # -- what goes in

    async def _feed(self) -> None:
        if isinstance(self._inputs, AsyncIterable):
            await self._feed_from(aiter(self._inputs))
        else:
            iterator = iter(self._inputs)
            await self._place()
            for item in iterator:
                await self._send(item)
                await self._place()
        self._all_read = True
        self._end_if_done()

    async def _feed_from(self, iterator: AsyncIterator[S]) -> None:
        try:
            await self._place()
            async for item in iterator:
                await self._send(item)
                await self._place()
        finally:
            # One that is left in the middle is not left to the garbage collector.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    async def _place(self) -> None:
        """Wait until one more input may be read."""
        while self._unreceived >= self._ahead():
            await self._room.park()
        self._unreceived += 1
        if not self._unreceived % _BURST:
            await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def _send(self, item: S) -> None:
        try:
            try:
                job = self._submit_nowait(item)
            except QueueFull:
                job = await self._submit(item)
        except TooManyRequests as refusal:
            # What came of this input, like anything else that a queue drops.
            job = record(item, NO_BOX)
            job.settle("dropped", refusal)
        self._follow(job)

    def _follow(self, job: Job[Any]) -> None:
        self._running[job] = None
        if self._ordered:
            self._in_order.append(job)
        if self._leaving:
            job.cancel()
        if job.ended:
            self._ended(job)
        else:
            job.watch(self, partial(self._ended, job))

    # -- what comes out

    def _ended(self, job: Job[Any]) -> None:
        del self._running[job]
        if not self._ordered:
            self._deliver(job)
        while self._in_order and self._in_order[0].ended:
            self._deliver(self._in_order.popleft())
        if self._last is not None and not self._running:
            trio.lowlevel.reschedule(self._last)
        self._end_if_done()

    def _deliver(self, job: Job[Any]) -> None:
        result = outcome.capture(job.result)
        if self._leaving:
            return
        if self._outcomes:
            self._outlet.put(result)
        elif isinstance(result, outcome.Value):
            self._outlet.put(result.value)
        else:
            self._cancel()
            self._nursery.start_soon(_unwrap, result)

    def _end_if_done(self) -> None:
        if self._all_read and not self._running:
            self._outlet.end()

    def look_again(self) -> None:
        """Note that another number of inputs may be read ahead."""
        self._room.unpark_all()

    def _taken(self, _: object) -> None:
        self._unreceived -= 1
        self._room.unpark()


async def _unwrap(result: outcome.Error) -> None:
    result.unwrap()
