"""Items that are handled in groups: what one costs from its push until it was handled."""

from __future__ import annotations

import math
from time import process_time
from typing import TYPE_CHECKING

import trio

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED
from poolder_trio import Batch, Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 100
CALLERS = 1_000
#: Seconds until a batch is sent off as it is: so long that none is while anything is measured.
TIMEOUT = 60.0


class Counts:
    """Counts what it gets, in batches or by itself."""

    def __init__(self) -> None:
        self.handled = 0

    async def batch(self, batch: list[int]) -> None:
        """Count the items of a batch."""
        self.handled += len(batch)

    async def item(self, item: int) -> None:  # noqa: ARG002
        """Count one item."""
        self.handled += 1


async def batcher(n: int) -> float:
    """Push all, and leave."""
    counts = Counts()
    begun = process_time()
    async with Batcher(counts.batch, limit=LIMIT, timeout=TIMEOUT, queue=UNBOUNDED) as it:
        push = it.push_nowait
        for item in range(n):
            push(item)
    spent = process_time() - begun
    require_all(counts.handled, n)
    return spent / n * 1e6


async def channel(
    n: int, serve: Callable[[trio.MemoryReceiveChannel[int], Counts], Awaitable[None]]
) -> float:
    """Send all into a memory channel, and leave."""
    counts = Counts()
    begun = process_time()
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[int](math.inf)
        nursery.start_soon(serve, receive, counts)
        with send:
            for item in range(n):
                send.send_nowait(item)
    spent = process_time() - begun
    require_all(counts.handled, n)
    return spent / n * 1e6


async def one_by_one(receive: trio.MemoryReceiveChannel[int], counts: Counts) -> None:
    """Handle each item by itself."""
    async for item in receive:
        await counts.item(item)


async def collected(receive: trio.MemoryReceiveChannel[int], counts: Counts) -> None:
    """Collect batches; each has its time, which every receive must not exceed."""
    ended = False
    while not ended:
        batch: list[int] = []
        due = math.inf
        while len(batch) < LIMIT:
            with trio.move_on_at(due) as waits:
                try:
                    batch.append(await receive.receive())
                except trio.EndOfChannel:
                    ended = True
            if ended or waits.cancelled_caught:
                break
            if due == math.inf:
                due = trio.current_time() + TIMEOUT
        if batch:
            await counts.batch(batch)


class ByHand:
    """What a user writes for answers: a lock around what is pending, an event for each caller.

    It has no time-out, no retries and no bound: it does less than a `Batcher`.
    """

    def __init__(self, handle_batch: Callable[[list[int]], Awaitable[list[int]]]) -> None:
        self._handle_batch = handle_batch
        self._lock = trio.Lock()
        self._pending: list[tuple[int, trio.Event, list[int]]] = []

    async def call(self, item: int) -> int:
        """Add ``item``; handle the batch if it is full by that, else wait until another does."""
        handled = trio.Event()
        place: list[int] = []
        async with self._lock:
            self._pending.append((item, handled, place))
            if len(self._pending) == LIMIT:
                batch, self._pending = self._pending, []
                results = await self._handle_batch([each for each, _, _ in batch])
                for (_, event, answer), result in zip(batch, results, strict=True):
                    answer.append(result)
                    event.set()
        await handled.wait()
        return place[0]


class ByHandShared:
    """The same by one who counts the steps: an event for each batch, and no lock."""

    def __init__(self, handle_batch: Callable[[list[int]], Awaitable[list[int]]]) -> None:
        self._handle_batch = handle_batch
        self._begin()

    def _begin(self) -> None:
        self._items: list[int] = []
        self._results: list[int] = []
        self._handled = trio.Event()

    async def call(self, item: int) -> int:
        """Add ``item``; handle the batch if it is full by that, else wait until another does."""
        items, results, handled = self._items, self._results, self._handled
        place = len(items)
        items.append(item)
        if len(items) == LIMIT:
            self._begin()
            results += await self._handle_batch(items)
            handled.set()
        await handled.wait()
        return results[place]


async def same(batch: list[int]) -> list[int]:
    """Return what it got."""
    return batch


async def callers(n: int, call: Callable[[int], Awaitable[int]]) -> float:
    """Let all callers call until all is called; return the microseconds for each call."""
    # In all so many as make full batches: nothing is to be sent off by hand in the end.
    count = max(1, n // LIMIT) * LIMIT
    left = iter(range(count))
    right = 0

    async def ask() -> None:
        nonlocal right
        for item in left:
            if await call(item) == item:
                right += 1

    begun = process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(ask)
    spent = process_time() - begun
    require_all(right, count)
    return spent / count * 1e6


async def batcher_calls(n: int) -> float:
    """Call a batcher."""

    async def handle(batch: Batch[int]) -> list[int]:
        return await same(batch)

    async with Batcher(handle, limit=LIMIT, timeout=TIMEOUT, queue=UNBOUNDED) as it:
        return await callers(n, it.call)


CONTESTS = [
    Contest(
        "items pushed until all were handled, batches of 100",
        "µs per item",
        200_000,
        [
            Contestant("Batcher.push_nowait", lambda n: trio.run(batcher, n)),
            Contestant(
                "memory channel, item by item",
                lambda n: trio.run(channel, n, one_by_one),
                least=8,
            ),
            Contestant(
                "memory channel, move_on_at", lambda n: trio.run(channel, n // 4, collected)
            ),
        ],
    ),
    Contest(
        "calls of 1,000 callers at once, batches of 100",
        "µs per call",
        50_000,
        [
            Contestant("Batcher.call", lambda n: trio.run(batcher_calls, n)),
            Contestant(
                "by hand: a lock, an event each",
                lambda n: trio.run(callers, n, ByHand(same).call),
                least=2,
            ),
            Contestant(
                "by hand: an event for all of a batch",
                lambda n: trio.run(callers, n, ByHandShared(same).call),
            ),
        ],
    ),
]
