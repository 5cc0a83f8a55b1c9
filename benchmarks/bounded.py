"""Jobs that nobody waits for, from producers who wait for room."""

from __future__ import annotations

import asyncio
from time import process_time

import trio
from trio.testing import wait_all_tasks_blocked

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import WORKERS, Noop, async_for, handled, queue_worker
from poolder_trio import Pool, Queue

PRODUCERS = 10
PLACES = 1000


def shares(n: int) -> list[range]:
    """Divide the jobs among the producers."""
    return [range(first, n, PRODUCERS) for first in range(PRODUCERS)]


async def pool(n: int, queue: Queue) -> float:
    """Await each cast."""
    staff: list[Noop] = []

    async def produce(jobs: range) -> None:
        for job in jobs:
            await workers.cast(job)

    async with Pool(Noop, queue=queue, args={"staff": staff}) as workers:
        await wait_all_tasks_blocked()
        begun = process_time()
        async with trio.open_nursery() as nursery:
            for jobs in shares(n):
                nursery.start_soon(produce, jobs)
        await workers.wait_idle()
        spent = process_time() - begun
    require_all(handled(staff), n)
    return spent / n * 1e6


async def channel(n: int) -> float:
    """Await each send into a memory channel."""
    staff = [Noop() for _ in range(WORKERS)]

    async def produce(send: trio.MemorySendChannel[int], jobs: range) -> None:
        async with send:
            for job in jobs:
                await send.send(job)

    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[int](PLACES)
        async with receive:
            for worker in staff:
                nursery.start_soon(async_for, receive.clone(), worker)
        await wait_all_tasks_blocked()
        begun = process_time()
        async with send:
            for jobs in shares(n):
                nursery.start_soon(produce, send.clone(), jobs)
    spent = process_time() - begun
    require_all(handled(staff), n)
    return spent / n * 1e6


async def asyncio_queue(n: int) -> float:
    """Await each put."""
    staff = [Noop() for _ in range(WORKERS)]
    queue: asyncio.Queue[int] = asyncio.Queue(PLACES)

    async def produce(jobs: range) -> None:
        for job in jobs:
            await queue.put(job)

    tasks = [asyncio.create_task(queue_worker(queue, worker)) for worker in staff]
    await asyncio.sleep(0)
    begun = process_time()
    await asyncio.gather(*map(produce, shares(n)))
    await queue.join()
    spent = process_time() - begun
    for task in tasks:
        task.cancel()
    require_all(handled(staff), n)
    return spent / n * 1e6


CONTESTS = [
    Contest(
        "no-op jobs from 10 producers who wait for room; 10 workers",
        "µs per job",
        50_000,
        [
            Contestant("Pool.cast, 1000 places each", lambda n: trio.run(pool, n, Queue())),
            Contestant(
                "Pool.cast, 100 places each",
                lambda n: trio.run(pool, n, Queue(max=PLACES // WORKERS)),
            ),
            Contestant("memory channel, 1000 places", lambda n: trio.run(channel, n)),
            Contestant("asyncio.Queue, 1000 places", lambda n: asyncio.run(asyncio_queue(n))),
        ],
    )
]
