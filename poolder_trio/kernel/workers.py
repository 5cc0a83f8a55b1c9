"""What the workers of a pool of functions do at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from poolder_trio.kernel.job import Job

if TYPE_CHECKING:
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Call


@attrs.frozen
class WorkerInfo:
    """One worker at one moment."""

    #: Its name, as in notes on errors and in logs.
    name: str
    #: What it runs; ``None`` if it is idle.
    job: Call | None


def infos(crew: Crew) -> tuple[WorkerInfo, ...]:
    """Return what each worker does; those that are not called in have nothing to do."""
    assert crew.limit is not None
    jobs = {seat.index: _call(seat.item) for seat in crew.seats if seat.busy}
    indices = sorted({*range(crew.limit), *jobs})
    return tuple(WorkerInfo(f"{crew.name}[{index}]", jobs.get(index)) for index in indices)


def queued(crew: Crew) -> tuple[Call, ...]:
    """Return what waits for a worker, the oldest first."""
    assert crew.shared is not None
    return tuple(map(_call, crew.shared.room.items()))


def _call(job: object) -> Call:
    assert isinstance(job, Job)
    return cast("Call", job.subject)
