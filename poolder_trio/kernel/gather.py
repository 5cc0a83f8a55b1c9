"""Waiting for several jobs: for all of them in order, or for each as it ends."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from poolder_trio.kernel import inside
from poolder_trio.kernel.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from poolder_trio.kernel.job import Job

T = TypeVar("T")


async def await_many(jobs: Iterable[Job[T]]) -> list[T]:
    """Wait for ``jobs`` and return their results, in the order given.

    A waiter that is cancelled stops waiting; the jobs go on.

    Raises:
        Exception: what the first job that failed, in that order, failed with; as soon as that is
            known. The other jobs go on.
        RuntimeError: as `Job.wait` does.
    """
    jobs = list(jobs)
    await trio.lowlevel.checkpoint()
    results: list[T] = []
    job: Job[T] | None = None
    try:
        for job in jobs:
            if job.place is not None:
                await job.wait_done()
            results.append(job.value if job.ending == "done" else job.result())
    finally:
        del job, jobs  # who keeps the error keeps this frame
    return results


class as_completed(Generic[T]):  # noqa: N801  # used as the function that it replaces
    """Yield jobs as they end, whatever they end with: an ``async with`` that gives a channel.

    ::

        async with as_completed(jobs) as ended:
            async for job in ended:
                print(job.result())

    Jobs that have ended already come first, in the order given; each comes once. The channel ends
    after the last. Leaving the block early leaves the jobs alone.

    Args:
        jobs: the handles, of any components.

    Raises:
        RuntimeError: (on entering) a function waits for jobs of its own component, whose workers
            all wait likewise: for ever.
    """

    def __init__(self, jobs: Iterable[Job[T]]) -> None:
        self._jobs = dict.fromkeys(jobs)
        self._left = len(self._jobs)
        self._outlet: Outlet[Job[T]] = Outlet(_look)
        self._guards = ExitStack()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> trio.abc.ReceiveChannel[Job[T]]:
        await trio.lowlevel.checkpoint()
        if inside.anywhere():
            self._refuse_own_wait()
        for job in self._jobs:
            if job.ended:
                self._ended(job)
            else:
                job.watch(self, partial(self._ended, job))
        if not self._left:
            self._outlet.end()
        return self._outlet

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for job in self._jobs:
            job.unwatch(self)
        self._outlet.close()
        self._guards.close()
        await trio.lowlevel.checkpoint()

    def _refuse_own_wait(self) -> None:
        """Be counted as waiting for the components that are to run the jobs."""
        boxes = {job.place.box: None for job in self._jobs if job.place is not None}
        with ExitStack() as stack:
            for box in boxes:
                stack.enter_context(inside.waiting_for(box.crew, box, "as_completed()"))
            self._guards = stack.pop_all()

    def _ended(self, job: Job[T]) -> None:
        self._outlet.put(job)
        self._left -= 1
        if not self._left:
            self._outlet.end()


def _look(job: Job[Any]) -> None:
    job.look()
