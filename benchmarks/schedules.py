"""Jobs by the clock: what it takes to have them, to add one, and to fire one."""

from __future__ import annotations

import asyncio
import logging
import math
import tracemalloc
from datetime import datetime, timedelta, timezone
from time import process_time
from typing import TYPE_CHECKING

import trio
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from croniter import croniter
from trio.testing import MockClock, wait_all_tasks_blocked

from benchmarks.harness import Contest, Contestant, require_all
from poolder_trio import Cron, Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PERIOD = 3600.0
#: A firing may take 10 µs, and adding a job 3 µs, on a machine on which a step of croniter's takes
#: 26 µs. Machines differ, so steps are counted.
FIRING = 26 / 10
ADDING = 8.7  # 26 / 3
JOBS = 100_000


class Ticks:
    """Counts how often it was called, and says when that is enough."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted
        self.ended = math.nan
        self.all_called = asyncio.Event()  # of use under asyncio only

    async def tick(self) -> None:
        """Count a call."""
        self.left -= 1
        if not self.left:
            self.ended = process_time()
            self.all_called.set()


def names(n: int) -> Sequence[str]:
    """Return n names."""
    return [f"job{number}" for number in range(n)]


async def fire(n: int, trigger: float | Cron) -> float:
    """Let all jobs of a scheduler fire at once."""
    ticks = Ticks(n)
    async with Scheduler() as scheduler:
        for name in names(n):
            scheduler.schedule(name, trigger, ticks.tick)
        # On a clock that stands still, all of them were scheduled at one moment.
        begun = process_time()
        await trio.sleep(PERIOD + 1)
        await scheduler.wait_idle()
        require_all(scheduler.statistics().completed, n)
    return (ticks.ended - begun) / n * 1e6


def at_once(run: Callable[..., Awaitable[float]], *args: object) -> float:
    """Run an async function on a clock that jumps over waits."""
    return trio.run(run, *args, clock=MockClock(autojump_threshold=0))


async def task_each(n: int) -> float:
    """Let a task for each job sleep until it is due, all at once, and then for ever."""
    ticks = Ticks(n)

    async def job() -> None:
        while True:
            await trio.sleep(PERIOD)
            await ticks.tick()

    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(job)
        await wait_all_tasks_blocked()
        begun = process_time()
        await trio.sleep(PERIOD + 1)
        nursery.cancel_scope.cancel()
    require_all(ticks.left, 0)
    return (ticks.ended - begun) / n * 1e6


async def apscheduler(n: int) -> float:
    """Let all jobs of APScheduler's fire at once."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    ticks = Ticks(n)
    scheduler = AsyncIOScheduler(timezone=timezone.utc)
    due = datetime.now(timezone.utc)
    for name in names(n):
        scheduler.add_job(
            ticks.tick,
            "interval",
            seconds=PERIOD,
            id=name,
            next_run_time=due,
            misfire_grace_time=None,
        )
    # Jobs added before the start are only noted; to start is to take them in, which is not firing.
    scheduler.start(paused=True)
    begun = process_time()
    scheduler.resume()
    await ticks.all_called.wait()
    scheduler.shutdown(wait=False)
    return (ticks.ended - begun) / n * 1e6


def steps(n: int) -> float:
    """Take as many steps with croniter alone."""
    start = datetime(2024, 1, 1)  # noqa: DTZ001  # as the library steps through local times
    made = croniter("0 * * * *", start)
    begun = process_time()
    for number in range(n):
        made.get_next(datetime, start + timedelta(hours=number % 1000))
    return (process_time() - begun) / n * 1e6


async def add(n: int) -> float:
    """Schedule jobs."""
    them, ticks = names(n), Ticks(n)
    async with Scheduler() as scheduler:
        begun = process_time()
        for name in them:
            scheduler.schedule(name, PERIOD, ticks.tick)
        return (process_time() - begun) / n * 1e6


async def add_to_apscheduler(n: int) -> float:
    """Schedule jobs with APScheduler."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    them, ticks = names(n), Ticks(n)
    scheduler = AsyncIOScheduler(timezone=timezone.utc)
    scheduler.start(paused=True)
    begun = process_time()
    for name in them:
        scheduler.add_job(ticks.tick, "interval", seconds=PERIOD, id=name)
    spent = process_time() - begun
    scheduler.shutdown(wait=False)
    return spent / n * 1e6


async def memory(n: int) -> float:
    """Schedule jobs, and return how much more memory is in use for each."""
    them, ticks = names(n), Ticks(n)
    async with Scheduler() as scheduler:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for name in them:
                scheduler.schedule(name, PERIOD, ticks.tick)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return (after - before) / n


async def idle(n: int) -> float:
    """Return how much of a second is spent while no job is due, in thousandths."""
    ticks = Ticks(n)
    async with Scheduler() as scheduler:
        for name in names(n):
            scheduler.schedule(name, PERIOD, ticks.tick)
        await trio.sleep(0.1)
        begun = process_time()
        await trio.sleep(1)
        return (process_time() - begun) * 1e3


CONTESTS = [
    Contest(
        "interval jobs that are due together",
        "µs per firing",
        JOBS,
        [
            Contestant("Scheduler", lambda n: at_once(fire, n, PERIOD)),
            Contestant("croniter alone: one step", lambda n: steps(n // 20), least=FIRING),
            Contestant("APScheduler 3", lambda n: asyncio.run(apscheduler(n)), least=5),
            Contestant("a task for each job", lambda n: at_once(task_each, n)),
        ],
    ),
    Contest(
        "cron jobs that are due together",
        "µs per firing",
        JOBS // 20,
        [
            Contestant("Scheduler", lambda n: at_once(fire, n, Cron("0 * * * *"))),
            Contestant("croniter alone: one step", steps),
        ],
    ),
    Contest(
        "adding an interval job",
        "µs each",
        JOBS,
        [
            Contestant("Scheduler.schedule", lambda n: trio.run(add, n)),
            Contestant("croniter alone: one step", lambda n: steps(n // 20), least=ADDING),
            Contestant("APScheduler 3", lambda n: asyncio.run(add_to_apscheduler(max(1, n // 10)))),
        ],
    ),
    Contest(
        "interval jobs: memory beyond their names",
        "bytes each",
        JOBS,
        [Contestant("Scheduler", lambda n: trio.run(memory, n), limit=500)],
    ),
    Contest(
        "100,000 interval jobs of which none is due",
        "ms of CPU time in a second",
        JOBS,
        [
            Contestant("Scheduler", lambda n: trio.run(idle, n), limit=1),
            Contestant("no job", lambda _: trio.run(idle, 0)),
        ],
    ),
]
