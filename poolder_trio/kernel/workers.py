"""What the workers of a pool of functions do at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from poolder_trio.kernel.job import Call, Job
from poolder_trio.kernel.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from poolder_trio.kernel.crew import Crew


@attrs.frozen
class WorkerInfo:
    """One worker at one moment."""

    #: Its name, as in notes on errors and in logs.
    name: str
    #: What it runs; ``None`` if it is idle.
    job: Call | None


class OpenRunner(Runner):
    """A runner that knows what it runs."""

    __slots__ = ("job",)

    # These add no coroutine of their own: an await of one costs as much as a small job. What they
    # return is awaited at once; pyright asks for the very class that an async def returns.
    def handle_call(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, job: Job[Any]
    ) -> Coroutine[Any, Any, object]:
        """Note what is called, and call it."""
        self.job: Call | Job[Any] = job
        return super().handle_call(job)

    def handle_job(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, call: Call
    ) -> Coroutine[Any, Any, object]:
        """Note what is called, and call it."""
        self.job = call
        return super().handle_job(call)


def infos(crew: Crew) -> tuple[WorkerInfo, ...]:
    """Return what each worker does; those that are not called in have nothing to do."""
    assert crew.limit is not None
    jobs = {
        seat.index: _call(seat.worker.job)
        for seat in crew.seats
        if seat.busy and isinstance(seat.worker, OpenRunner)
    }
    indices = sorted({*range(crew.limit), *jobs})
    return tuple(WorkerInfo(f"{crew.name}[{index}]", jobs.get(index)) for index in indices)


def queued(crew: Crew) -> tuple[Call, ...]:
    """Return what waits for a worker, the oldest first."""
    assert crew.shared is not None
    return tuple(map(_call, crew.shared.room.items()))


def _call(item: object) -> Call:
    subject = item.subject if isinstance(item, Job) else item
    assert isinstance(subject, Call)
    return subject
