"""The workers that all contestants use, and how peers feed them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from poolder_trio import Queue, Worker

if TYPE_CHECKING:
    import asyncio

    import trio

WORKERS = 10

#: For sending more than the default has room for. The peers' queues have no bound either.
UNBOUNDED = Queue(max=math.inf)


class Noop(Worker[int, int]):
    """Does nothing but count."""

    done = 0

    async def handle_init(self, *, staff: list[Noop]) -> None:
        """Join those whose counts are added up in the end."""
        staff.append(self)

    async def handle_job(self, job: int) -> int | None:  # noqa: ARG002
        """Count the job."""
        self.done += 1
        return None

    async def handle_call(self, request: int) -> int:
        """Count the request, and return it."""
        self.done += 1
        return request


def handled(staff: list[Noop]) -> int:
    """Return how many jobs were handled by all."""
    return sum(worker.done for worker in staff)


async def async_for(receive: trio.MemoryReceiveChannel[int], worker: Worker[int, int]) -> None:
    """Handle what comes out of a memory channel, until its end."""
    async with receive:
        async for job in receive:
            await worker.handle_job(job)


async def queue_worker(queue: asyncio.Queue[int], worker: Worker[int, int]) -> None:
    """Handle what comes out of a queue, until cancelled."""
    while True:
        job = await queue.get()
        await worker.handle_job(job)
        queue.task_done()
