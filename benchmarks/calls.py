"""Requests whose callers wait for the reply."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, TypeAlias

import trio
from trio.testing import wait_all_tasks_blocked

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import WORKERS, Noop, handled
from poolder_trio import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Slip: TypeAlias = tuple[int, trio.Event, list[int]]


async def callers(n: int, count: int, call: Callable[[int], Awaitable[int]]) -> float:
    """Let ``count`` tasks call one after another; return the seconds for each call."""
    each = max(1, n // count)
    right = 0

    async def ask() -> None:
        nonlocal right
        for request in range(each):
            if await call(request) == request:
                right += 1

    begun = process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    spent = process_time() - begun
    require_all(right, each * count)
    return spent / (each * count)


async def pool(n: int, count: int) -> float:
    """Call."""
    staff: list[Noop] = []
    async with Pool(Noop, args={"staff": staff}) as workers:
        await wait_all_tasks_blocked()
        spent = await callers(n, count, workers.call)
    require_all(handled(staff), max(1, n // count) * count)
    return spent * 1e6


async def channel(n: int, count: int, *, places: float = math.inf, wait: bool = True) -> float:
    """Send each request with an `Event` and a slot for the reply.

    Args:
        n: how many calls.
        count: how many callers.
        places: how many requests may wait in the channel.
        wait: whether to ``await send``; else ``send_nowait``.
    """
    send, receive = trio.open_memory_channel[Slip](places)

    async def work(receive: trio.MemoryReceiveChannel[Slip], worker: Noop) -> None:
        async with receive:
            async for request, answered, slot in receive:
                slot.append(await worker.handle_call(request))
                answered.set()

    async def call(request: int) -> int:
        answered = trio.Event()
        slot: list[int] = []
        if wait:
            await send.send((request, answered, slot))
        else:
            send.send_nowait((request, answered, slot))
        await answered.wait()
        return slot[0]

    async with trio.open_nursery() as nursery, send:
        async with receive:
            for _ in range(WORKERS):
                nursery.start_soon(work, receive.clone(), Noop())
        await wait_all_tasks_blocked()
        spent = await callers(n, count, call)
    return spent * 1e6


async def asyncio_future(n: int, count: int) -> float:
    """Put the request with a `Future`."""
    each = max(1, n // count)
    right = 0
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def work(worker: Noop) -> None:
        while True:
            request, answer = await queue.get()
            answer.set_result(await worker.handle_call(request))

    async def ask() -> None:
        nonlocal right
        for request in range(each):
            answer = loop.create_future()
            queue.put_nowait((request, answer))
            if await answer == request:
                right += 1

    tasks = [asyncio.create_task(work(Noop())) for _ in range(WORKERS)]
    await asyncio.sleep(0)
    begun = process_time()
    await asyncio.gather(*(ask() for _ in range(count)))
    spent = process_time() - begun
    for task in tasks:
        task.cancel()
    require_all(right, each * count)
    return spent / (each * count) * 1e6


def contest(count: int, least: float | None) -> Contest:
    """Return the contest of so many callers."""
    return Contest(
        f"calls of a no-op, {count} callers; 10 workers",
        "µs per call",
        20_000,
        [
            Contestant("Pool.call", lambda n: trio.run(pool, n, count)),
            Contestant(
                "memory channel, await send, Event",
                lambda n: trio.run(partial(channel, n, count)),
                least=least,
            ),
            Contestant(
                "memory channel without places, await send, Event",
                lambda n: trio.run(partial(channel, n, count, places=0)),
                least=least,
            ),
            Contestant(
                "memory channel, send_nowait, Event",
                lambda n: trio.run(partial(channel, n, count, wait=False)),
            ),
            Contestant(
                "asyncio.Queue, put_nowait, Future",
                lambda n: asyncio.run(asyncio_future(n, count)),
            ),
        ],
    )


CONTESTS = [contest(100, least=1.4), contest(1000, least=None)]
