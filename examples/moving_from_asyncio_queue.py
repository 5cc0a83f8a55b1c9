"""Move from asyncio.Queue and workers to a Tasker: the same prices, and no failure in silence.

python examples/moving_from_asyncio_queue.py
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

import trio

from poolder_trio import Queue, Restart, Tasker

prices, busy, loads = dict[int, float](), set[int](), list[int]()


async def look_up(order: int, pause: Callable[[float], Awaitable[None]]) -> None:
    """Note the price of an order after a pause; order 13 has none."""
    busy.add(order)
    loads.append(len(busy))
    await pause(0.01)
    busy.remove(order)
    prices[order] = 1000 / (order - 13)


async def before() -> int:
    """Let ten tasks take orders from a queue; return how many of them live to its end."""
    queue = asyncio.Queue[int | None](maxsize=20)

    async def work() -> None:
        while (order := await queue.get()) is not None:
            await look_up(order, asyncio.sleep)

    tasks = [asyncio.create_task(work()) for _ in range(10)]
    for order in [*range(100), *[None] * 10]:
        await queue.put(order)
    return (await asyncio.gather(*tasks, return_exceptions=True)).count(None)


async def after() -> int:
    """Let ten at once be looked up."""
    async with Tasker(limit=10, queue=Queue(max=20), restart=Restart(5)) as tasker:
        for order in range(100):
            await tasker.execute(look_up, order, trio.sleep)
    return tasker.report.failed


def tell(way: str, rest: str) -> None:
    """Say what was done, and forget it."""
    total = sum(prices[order] for order in sorted(prices))
    print(f"{way}: {len(prices)} prices, {total:.2f} in all, {max(loads)} at once; {rest}")
    prices.clear()
    loads.clear()


tell("before", f"{asyncio.run(before())} of 10 tasks left")
logging.basicConfig(stream=sys.stdout, format="%(message)s")
tell("after", f"{trio.run(after)} failed")
