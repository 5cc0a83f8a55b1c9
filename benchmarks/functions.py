"""Functions whose results are read: what one costs from its submission to its result."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, Any

import aiometer
import trio

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED, WORKERS
from poolder_trio import JobPool, Tasker, await_many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_variable: ContextVar[int] = ContextVar("variable")


async def noop(number: int) -> int:
    """Return what it got."""
    return number


async def tasker(n: int, collect: Callable[[Tasker, int], Awaitable[list[int]]]) -> float:
    """Run ``collect`` on an open tasker."""
    async with Tasker(limit=WORKERS, queue=UNBOUNDED) as it:
        begun = process_time()
        results = await collect(it, n)
        spent = process_time() - begun
    require_all(results == list(range(n)), True)  # noqa: FBT003
    return spent / n * 1e6


async def performed(n: int) -> float:
    """Hand all over at once to a pool with a name, then wait for all."""
    async with JobPool(pool_size=WORKERS, queue=UNBOUNDED, name="all") as it:
        begun = process_time()
        results = await await_many(await it.async_perform_many(noop, range(n)))
        spent = process_time() - begun
    require_all(results == list(range(n)), True)  # noqa: FBT003
    return spent / n * 1e6


async def submitted(it: Tasker, n: int) -> list[int]:
    """Submit all without waiting, then wait for all."""
    return await await_many([it.submit_nowait(noop, number) for number in range(n)])


async def mapped(it: Tasker, n: int) -> list[int]:
    """Map, and receive."""
    async with it.map(noop, range(n), ordered=True) as results:
        return [result async for result in results]


async def submitted_with_a_variable(it: Tasker, n: int) -> list[int]:
    """Do it where a context variable is set."""
    _variable.set(n)
    return await submitted(it, n)


async def channel(n: int) -> float:
    """Send each function with an `Event` and a place for its result."""

    async def serve(receive: trio.MemoryReceiveChannel[Any]) -> None:
        async with receive:
            async for fn, args, done, place in receive:
                place.append(await fn(*args))
                done.set()

    begun = process_time()
    results = []
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[Any](math.inf)
        async with send:
            async with receive:
                for _ in range(WORKERS):
                    nursery.start_soon(serve, receive.clone())
            waiting = []
            for number in range(n):
                done, place = trio.Event(), []
                send.send_nowait((noop, (number,), done, place))
                waiting.append((done, place))
            for done, place in waiting:
                await done.wait()
                results.append(place[0])
    require_all(len(results), n)
    return (process_time() - begun) / n * 1e6


async def task_each(n: int) -> float:
    """Start a task for each function, under a `CapacityLimiter`."""
    limiter = trio.CapacityLimiter(WORKERS)
    results = {}

    async def run(number: int) -> None:
        async with limiter:
            results[number] = await noop(number)

    begun = process_time()
    async with trio.open_nursery() as nursery:
        for number in range(n):
            nursery.start_soon(run, number)
    require_all(len(results), n)
    return (process_time() - begun) / n * 1e6


async def aiometer_all(n: int) -> float:
    """Let aiometer run all."""
    begun = process_time()
    results = await aiometer.run_all(
        [partial(noop, number) for number in range(n)], max_at_once=WORKERS
    )
    require_all(len(results), n)
    return (process_time() - begun) / n * 1e6


async def asyncio_queue(n: int) -> float:
    """Put each function into an asyncio.Queue, with a future for its result."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def serve() -> None:
        while True:
            fn, args, future = await queue.get()
            future.set_result(await fn(*args))
            queue.task_done()

    tasks = [asyncio.create_task(serve()) for _ in range(WORKERS)]
    await asyncio.sleep(0)
    begun = process_time()
    futures = []
    for number in range(n):
        future = loop.create_future()
        queue.put_nowait((noop, (number,), future))
        futures.append(future)
    results = [await future for future in futures]
    spent = process_time() - begun
    for task in tasks:
        task.cancel()
    require_all(len(results), n)
    return spent / n * 1e6


CONTESTS = [
    Contest(
        "no-op functions, all submitted, all results read; 10 at once",
        "µs per job",
        100_000,
        [
            Contestant(
                "Tasker.submit_nowait, await_many", lambda n: trio.run(tasker, n, submitted)
            ),
            Contestant("memory channel, Event", lambda n: trio.run(channel, n), least=6),
            Contestant("nursery and CapacityLimiter", lambda n: trio.run(task_each, n), least=30),
            Contestant("aiometer.run_all", lambda n: trio.run(aiometer_all, n), least=20),
            Contestant("asyncio.Queue, Future", lambda n: asyncio.run(asyncio_queue(n)), least=1.0),
            Contestant(
                "JobPool.async_perform_many, await_many", lambda n: trio.run(performed, n), most=1.0
            ),
            Contestant(
                "Tasker, with a context variable",
                lambda n: trio.run(tasker, n, submitted_with_a_variable),
            ),
            Contestant("Tasker.map", lambda n: trio.run(tasker, n, mapped)),
        ],
    )
]
