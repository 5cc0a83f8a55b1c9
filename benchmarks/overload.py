"""Servers: what a call costs, and what callers get when they ask for twice what can be done.

The second is told in Trio's time, on a clock that jumps: it is about order, not about speed.
"""

from __future__ import annotations

import math
import random
import statistics
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from benchmarks.calls import callers
from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import WORKERS, Noop, handled
from poolder_trio import Broker, CoDel, GenPool, Pool, Queue, TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 0.2  # that a request takes, on average
CAPACITY = WORKERS / SECONDS
TARGET = 0.05
CODEL = CoDel(TARGET, 0.5)
PLAIN = Broker(timeout=math.inf)
#: A broker and a queue with the same rules: no bound and no age, and five seconds at most.
RULES: list[tuple[Broker, Queue]] = [
    (Broker(timeout=math.inf, overflow="wait"), Queue(max=math.inf)),
    (Broker(), Queue(max=math.inf, overflow="reject", timeout=5.0)),
]


class Stateless(GenPool[int, int, int]):
    """Replies with the request."""

    pool_size = WORKERS

    async def init(self) -> int:
        """Begin with a state that never changes."""
        return 0

    async def handle_call(self, request: int, state: int) -> tuple[int, int]:
        """Reply."""
        return request, state


async def server(broker: Broker, count: int, n: int) -> float:
    """Call a server."""
    async with Stateless(broker=broker) as it:
        await wait_all_tasks_blocked()
        return await callers(n, count, it.call) * 1e6


async def pool(queue: Queue, count: int, n: int) -> float:
    """Call a pool with the same rules."""
    staff: list[Noop] = []
    options: dict[str, Any] = {"mode": "available", "queue": queue, "args": {"staff": staff}}
    async with Pool(Noop, **options) as workers:
        await wait_all_tasks_blocked()
        spent = await callers(n, count, workers.call)
    require_all(handled(staff), max(1, n // count) * count)
    return spent * 1e6


class Slow(GenPool[float, float, float]):
    """Notes how long a request waited, and takes its time."""

    pool_size = WORKERS
    isolation = "optimistic"

    async def init(self) -> float:
        """Begin with a state that never changes."""
        self.chance = random.Random(1)  # noqa: S311  # the same requests for each broker
        return 0

    async def handle_call(self, request: float, state: float) -> tuple[float, float]:
        """Reply with how long ``request``, which is when it was made, has waited."""
        waited = trio.current_time() - request
        await trio.sleep(SECONDS * self.chance.uniform(0.5, 1.5))
        return waited, state


async def offer(broker: Broker, n: int) -> tuple[float, list[tuple[float, float]]]:
    """Offer twice what can be done, by callers who come at random.

    Returns for how many seconds that was, and of each answer when it came and for how long its
    request had waited.
    """
    chance = random.Random(2)  # noqa: S311  # as above
    answers: list[tuple[float, float]] = []
    dropped = 0

    async def call() -> None:
        nonlocal dropped
        try:
            waited = await it.call(trio.current_time())
        except TooManyRequests:
            dropped += 1
        else:
            answers.append((trio.current_time() - begun, waited))

    async with Slow(broker=broker) as it, trio.open_nursery() as nursery:
        begun = due = trio.current_time()
        for _ in range(n):
            due += chance.expovariate(2 * CAPACITY)
            await trio.sleep_until(due)
            nursery.start_soon(call)
    require_all(len(answers) + dropped, n)
    return due - begun, answers


async def overload(broker: Broker, n: int) -> tuple[float, list[float]]:
    """Return the capacity for each request that was answered, and how long those had waited.

    What is offered while the rules find their pace, in the first half, is not looked at.
    """
    seconds, answers = await offer(broker, n)
    waits = [wait for at, wait in answers if seconds / 2 <= at <= seconds]
    require_all(bool(waits), True)  # noqa: FBT003
    return seconds / 2 * CAPACITY / len(waits), waits


@cache
def measured(broker: Broker, n: int) -> tuple[float, list[float]]:
    """Return what `overload` does; both tables are of the same run."""
    return trio.run(overload, broker, n, clock=MockClock(autojump_threshold=0))


def capacity(broker: Broker, n: int) -> float:
    """Return what could have been answered, as a multiple of what was."""
    return measured(broker, n)[0]


def slowest(broker: Broker, n: int) -> float:
    """Return the 99th percentile of the waits of what was answered, in targets."""
    waits = measured(broker, n)[1]
    return (statistics.quantiles(waits, n=100)[98] if len(waits) > 1 else waits[0]) / TARGET


def contestants(run: Callable[[Broker, int], float], limit: float) -> list[Contestant]:
    """Return a row for each broker.

    Oldest first, CoDel needs long to drop as much as is too much, and what it answers has waited
    as long as it tolerates. The newest waits for nobody, and CoDel sheds those that nobody serves.
    """
    return [
        Contestant(
            "CoDel(0.05, 0.5), newest first",
            partial(run, Broker(order="lifo", timeout=math.inf, codel=CODEL)),
            limit=limit,
        ),
        Contestant(
            "CoDel(0.05, 0.5), at most 0.2 s",
            partial(run, Broker(timeout=0.2, codel=CODEL)),
            limit=limit,
        ),
        Contestant("CoDel(0.05, 0.5)", partial(run, Broker(timeout=math.inf, codel=CODEL))),
        Contestant("plain fifo", partial(run, PLAIN)),
        Contestant("plain fifo, half as long", lambda n: run(PLAIN, n // 2)),
    ]


CONTESTS = [
    *(
        Contest(
            f"calls of a stateless server, 100 callers; {title}; 10 workers",
            "µs per call",
            20_000,
            [
                Contestant(
                    "Pool.call, mode available", lambda n, q=queue: trio.run(pool, q, 100, n)
                ),
                Contestant(
                    "GenPool.call", lambda n, b=broker: trio.run(server, b, 100, n), most=1.1
                ),
            ],
        )
        for title, (broker, queue) in zip(("no age", "5 s"), RULES, strict=True)
    ),
    Contest(
        "offered twice the capacity: capacity per request answered",
        "1 / goodput",
        15_000,
        contestants(capacity, 1 / 0.9),
    ),
    Contest(
        "offered twice the capacity: 99th percentile of the waits of what was answered",
        "targets",
        15_000,
        contestants(slowest, 4),
    ),
]
