"""Jobs that nobody waits for, sent all at once: what a job costs from its cast to its end."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from time import process_time

import trio
from trio.testing import wait_all_tasks_blocked

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED, WORKERS, Noop, async_for, handled, queue_worker
from poolder_trio import Pool


async def pool(n: int) -> float:
    """Cast all jobs and wait until the pool is idle."""
    staff: list[Noop] = []
    jobs = list(range(n))
    async with Pool(Noop, queue=UNBOUNDED, args={"staff": staff}) as workers:
        await wait_all_tasks_blocked()
        begun = process_time()
        for job in jobs:
            workers.cast_nowait(job)
        await workers.wait_idle()
        spent = process_time() - begun
    require_all(handled(staff), n)
    return spent / n * 1e6


async def asyncio_queue(n: int) -> float:
    """Put all jobs into a queue, and join it."""
    staff = [Noop() for _ in range(WORKERS)]
    jobs = list(range(n))
    queue: asyncio.Queue[int] = asyncio.Queue()
    tasks = [asyncio.create_task(queue_worker(queue, worker)) for worker in staff]
    await asyncio.sleep(0)
    begun = process_time()
    for job in jobs:
        queue.put_nowait(job)
    await queue.join()
    spent = process_time() - begun
    for task in tasks:
        task.cancel()
    require_all(handled(staff), n)
    return spent / n * 1e6


async def channel(n: int, *, wait: bool) -> float:
    """Send all jobs into a memory channel, and wait until its readers have come to the end.

    Args:
        n: how many jobs.
        wait: whether to ``await send``, with no place in the channel, as Trio's tutorial does;
            else ``send_nowait``, with a place for each job.
    """
    staff = [Noop() for _ in range(WORKERS)]
    jobs = list(range(n))
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[int](0 if wait else math.inf)
        async with receive:
            for worker in staff:
                nursery.start_soon(async_for, receive.clone(), worker)
        await wait_all_tasks_blocked()
        begun = process_time()
        async with send:
            if wait:
                for job in jobs:
                    await send.send(job)
            else:
                for job in jobs:
                    send.send_nowait(job)
    spent = process_time() - begun
    require_all(handled(staff), n)
    return spent / n * 1e6


async def task_each(n: int) -> float:
    """Start a task for each job, under a `CapacityLimiter`."""
    n = max(1, n // 20)  # each waiting job is a task here: the other sizes take too long
    worker = Noop()
    limiter = trio.CapacityLimiter(WORKERS)

    async def handle(job: int) -> None:
        async with limiter:
            await worker.handle_job(job)

    begun = process_time()
    async with trio.open_nursery() as nursery:
        for job in range(n):
            nursery.start_soon(handle, job)
    spent = process_time() - begun
    require_all(worker.done, n)
    return spent / n * 1e6


CONTESTS = [
    Contest(
        "no-op jobs, all cast at once, until idle; 10 workers",
        "µs per job",
        100_000,
        [
            Contestant("Pool.cast_nowait", lambda n: trio.run(pool, n)),
            Contestant(
                "asyncio.Queue, put_nowait", lambda n: asyncio.run(asyncio_queue(n)), least=1.3
            ),
            Contestant(
                "memory channel, send_nowait, async for",
                lambda n: trio.run(partial(channel, n, wait=False)),
                least=5,
            ),
            Contestant(
                "memory channel without places, await send, async for",
                lambda n: trio.run(partial(channel, n, wait=True)),
                least=5,
            ),
            Contestant("nursery and CapacityLimiter", lambda n: trio.run(task_each, n)),
        ],
    )
]
