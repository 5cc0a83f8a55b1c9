"""How late a 1 ms ticker is beside workers that always have something to do."""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from benchmarks.harness import Contest, Contestant
from benchmarks.workers import UNBOUNDED, WORKERS, async_for
from poolder_trio import Pool, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.001
AHEAD = 100 * WORKERS


class Busy(Worker[int, int]):
    """Holds the loop for as many microseconds as the job says. Each job sends its successor."""

    send: Callable[[int], object]

    async def handle_init(self) -> None:
        """Note where successors go."""
        self.send = self.pool.cast_nowait

    async def handle_job(self, job: int) -> None:
        """Work, and see to it that there is always more."""
        self.send(job)
        end = perf_counter() + job / 1e6
        while perf_counter() < end:
            pass


async def p99(ticks: int) -> float:
    """Sleep for a millisecond, again and again; return the 99th percentile of the lags, in ms."""
    lags = []
    for _ in range(ticks):
        due = perf_counter() + TICK
        await trio.sleep(TICK)
        lags.append(perf_counter() - due)
    return sorted(lags)[ticks * 99 // 100] * 1e3


async def pool(ticks: int, job: int) -> float:
    """Tick beside a pool."""
    async with Pool(Busy, queue=UNBOUNDED) as workers:
        for _ in range(AHEAD):
            workers.cast_nowait(job)
        figure = await p99(ticks)
        workers.cancel()
    return figure


async def channel(ticks: int, job: int) -> float:
    """Tick beside workers that yield after each job."""
    send, receive = trio.open_memory_channel[int](math.inf)
    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            worker = Busy()
            worker.send = send.send_nowait
            nursery.start_soon(async_for, receive.clone(), worker)
        for _ in range(AHEAD):
            send.send_nowait(job)
        figure = await p99(ticks)
        nursery.cancel_scope.cancel()
    return figure


# An asyncio.Queue cannot take part: its get() does not yield while there is something to get,
# so that beside such workers nothing else runs at all.
CONTESTS = [
    Contest(
        "p99 lag of a 1 ms ticker beside 10 saturated workers",
        "ms",
        1000,
        [
            Contestant("nothing beside it", lambda n: trio.run(p99, n)),
            Contestant("Pool, 5 µs jobs", lambda n: trio.run(pool, n, 5), limit=3),
            Contestant("Pool, 50 µs jobs", lambda n: trio.run(pool, n, 50), limit=3),
            Contestant("memory channel, 5 µs jobs", lambda n: trio.run(channel, n, 5)),
            Contestant("memory channel, 50 µs jobs", lambda n: trio.run(channel, n, 50)),
        ],
    )
]
