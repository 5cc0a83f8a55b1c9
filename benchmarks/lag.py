"""How late a 1 ms ticker is beside workers that always have something to do."""

from __future__ import annotations

import asyncio
import math
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from benchmarks.harness import Contest, Contestant
from benchmarks.workers import UNBOUNDED, WORKERS, async_for
from poolder_trio import Pool, Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICK = 0.001


class Busy(Worker[int, int]):
    """Holds the processor for as many microseconds as the job says, and sends the job again."""

    async def handle_init(self, *, send: Callable[[int], object]) -> None:
        """Note where successors go."""
        self.send = send

    async def handle_job(self, job: int) -> None:
        """Work, and see to it that there is always more."""
        self.send(job)
        end = perf_counter() + job / 1e6
        while perf_counter() < end:
            pass


async def p99(n: int, sleep: Callable[[float], Awaitable[object]]) -> float:
    """Sleep ``n`` times for a millisecond; return the 99th percentile of the lags, in ms."""
    lags = []
    for _ in range(n):
        due = perf_counter() + TICK
        await sleep(TICK)
        lags.append(perf_counter() - due)
    return sorted(lags)[n * 99 // 100] * 1e3


async def alone(n: int) -> float:
    """Nothing beside the ticker."""
    return await p99(n, trio.sleep)


def pool(microseconds: int) -> Callable[[int], float]:
    """Return a run beside a pool with jobs of that length."""

    async def run(n: int) -> float:
        workers: Pool[int, int] = Pool(Busy, queue=UNBOUNDED)
        workers = Pool(Busy, queue=UNBOUNDED, args={"send": lambda job: workers.cast_nowait(job)})
        async with workers:
            for _ in range(10 * WORKERS):
                workers.cast_nowait(microseconds)
            figure = await p99(n, trio.sleep)
            workers.cancel()
        return figure

    return lambda n: trio.run(run, n)
