"""What a waiting job takes, beyond its message."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED, WORKERS, Noop, handled
from poolder_trio import Pool, Queue

if TYPE_CHECKING:
    from collections.abc import Callable


def bytes_each(jobs: list[int], send: Callable[[int], object]) -> float:
    """Send all jobs, and return how much more memory is in use for each."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for job in jobs:
            send(job)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / len(jobs)


async def pool(n: int, queue: Queue) -> float:
    """Cast to a paused pool."""
    staff: list[Noop] = []
    jobs = list(range(n))
    async with Pool(Noop, queue=queue, args={"staff": staff}) as workers:
        workers.pause()
        figure = bytes_each(jobs, workers.cast_nowait)
        require_all(workers.statistics().waiting, n)
    require_all(handled(staff), n)
    return figure


async def channel(n: int) -> float:
    """Send into a memory channel that nobody reads."""
    send, receive = trio.open_memory_channel[int](math.inf)
    figure = bytes_each(list(range(n)), send.send_nowait)
    require_all(receive.statistics().current_buffer_used, n)
    return figure


async def task_each(n: int) -> float:
    """Start tasks that wait for a `CapacityLimiter`."""
    n = max(1, n // 100)  # each takes kilobytes
    limiter = trio.CapacityLimiter(WORKERS)

    async def handle(_: int) -> None:
        async with limiter:
            await trio.sleep_forever()

    tracemalloc.start()
    async with trio.open_nursery() as nursery:
        before, _ = tracemalloc.get_traced_memory()
        for job in range(n):
            nursery.start_soon(handle, job)
        await wait_all_tasks_blocked()
        after, _ = tracemalloc.get_traced_memory()
        nursery.cancel_scope.cancel()
    tracemalloc.stop()
    return (after - before) / n


CONTESTS = [
    Contest(
        "a million waiting jobs: memory beyond the messages",
        "bytes each",
        1_000_000,
        [
            Contestant("Pool, paused", lambda n: trio.run(pool, n, UNBOUNDED), limit=60),
            Contestant(
                "Pool, paused, order='priority'",
                lambda n: trio.run(pool, n, Queue(max=math.inf, order="priority")),
            ),
            Contestant("memory channel", lambda n: trio.run(channel, n)),
            Contestant("nursery and CapacityLimiter", lambda n: trio.run(task_each, n)),
        ],
    )
]
