"""Functions that wait, and functions in processes: against the ideal."""

from __future__ import annotations

import math
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import trio
import trio_parallel

from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED, WORKERS
from poolder_trio import AsyncPool, JobPool, ProcessExecutor, Tasker, await_many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MILLISECOND = 0.001
CORES = 2
#: How far the processes count: some ten milliseconds of work.
FAR = 300_000


async def nap(_: int) -> None:
    """Wait for a millisecond, as a call to a quick server does."""
    await trio.sleep(MILLISECOND)


async def ideal(n: int) -> float:
    """Let as many tasks as may run at once do nothing but take their share of the naps."""

    async def share() -> None:
        for number in range(n // WORKERS):
            await nap(number)

    begun = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(share)
    return (perf_counter() - begun) / n * 1e6


async def tasker(n: int) -> float:
    """Submit all, and wait for all."""
    async with Tasker(limit=WORKERS, queue=UNBOUNDED) as it:
        begun = perf_counter()
        await await_many([it.submit_nowait(nap, number) for number in range(n)])
        return (perf_counter() - begun) / n * 1e6


async def job_pool(n: int) -> float:
    """Have all performed, and wait for all."""
    async with JobPool(pool_size=WORKERS, queue=UNBOUNDED) as it:
        begun = perf_counter()
        await await_many(await it.async_perform_many(nap, range(n)))
        return (perf_counter() - begun) / n * 1e6


async def async_pool(n: int) -> float:
    """Add all as workers come free, while results are read."""

    async def add() -> None:
        for number in range(n):
            await it.add_task(number)
        it.close()

    async with AsyncPool(nap, max_workers=WORKERS) as it, trio.open_nursery() as nursery:
        begun = perf_counter()
        nursery.start_soon(add)
        count = 0
        async for _ in it.results:
            count += 1
        require_all(count, n)
        return (perf_counter() - begun) / n * 1e6


def count(far: int) -> int:
    """Compute for a while."""
    total = 0
    for number in range(far):
        total += number & 3
    return total


async def bare(fn: Callable[[int], int], arg: int, at_once: int, n: int) -> float:
    """Run functions by trio-parallel alone, from as many tasks as may run at once."""

    async def share() -> None:
        for _ in range(n // at_once):
            await trio_parallel.run_sync(fn, arg)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(trio_parallel.run_sync, fn, arg)  # the processes start
    begun = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(share)
    return (perf_counter() - begun) / n * 1e6


async def processes(fn: Callable[[int], int], arg: int, at_once: int, n: int) -> float:
    """Run functions by a tasker with processes."""
    async with Tasker(limit=at_once, queue=UNBOUNDED, executor=ProcessExecutor()) as it:
        await await_many([it.submit_nowait(fn, arg) for _ in range(at_once)])
        begun = perf_counter()
        await await_many([it.submit_nowait(fn, arg) for _ in range(n)])
        return (perf_counter() - begun) / n * 1e6


def run(way: Callable[..., Awaitable[float]], *args: object) -> Callable[[int], float]:
    """Return a contestant's run."""
    return lambda n: trio.run(partial(way, *args), n)


CONTESTS = [
    Contest(
        "functions that wait for 1 ms, 10 at once",
        "µs per job",
        3_000,
        [
            Contestant("ten tasks that wait in turn: the ideal", run(ideal)),
            Contestant("Tasker.submit_nowait, await_many", run(tasker), most=1.15),
            Contestant("JobPool.async_perform_many, await_many", run(job_pool)),
            Contestant("AsyncPool.add_task, results", run(async_pool)),
        ],
    ),
    Contest(
        "a function in a process, one at a time",
        "µs per job",
        1_000,
        [
            Contestant("trio-parallel alone", run(bare, math.isqrt, 9, 1)),
            Contestant("Tasker with ProcessExecutor", run(processes, math.isqrt, 9, 1), most=1.2),
        ],
    ),
    Contest(
        "functions that compute, in processes",
        "µs per job",
        40,
        [
            Contestant("Tasker, two at once", run(processes, count, FAR, CORES)),
            Contestant("Tasker, one at a time", run(processes, count, FAR, 1), least=1.7),
        ],
    ),
]
