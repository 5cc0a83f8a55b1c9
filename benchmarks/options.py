"""What options cost those who set them, and that they cost nobody else.

Each option is set so that it never has anything to do; what is left is the price of having it.
Two workloads: jobs that wait in line, so that workers never rest, and a job for each of ten
workers at a time, so that each job wakes one. And a count that no noise touches: how many
functions of the library run for each job in line. Where nothing is set that is the cast, and now
and then a look at the clock: an option that did something unasked would show.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import wait_all_tasks_blocked

import poolder_trio
from benchmarks.harness import Contest, Contestant, require_all
from benchmarks.workers import UNBOUNDED, WORKERS, Noop, handled
from poolder_trio import Instrument, Pool, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

LIBRARY = str(Path(poolder_trio.__file__).parent)
HOUR = 3600.0


class Hibernating(Noop):
    """Would hibernate after an hour without a job."""

    hibernate_after = HOUR


#: The worker, and what else the pool is given.
SETTINGS: dict[str, dict[str, Any]] = {
    "nothing set": {"worker": Noop},
    "job_timeout": {"worker": Noop, "job_timeout": HOUR},
    "overrun_warning": {"worker": Noop, "overrun_warning": HOUR},
    "hibernate_after": {"worker": Hibernating},
    "rate": {"worker": Noop, "rate": Rate(1e9, burst=1_000_000_000)},
    "instruments": {"worker": Noop, "instruments": [Instrument()]},
}


class Stopwatch:
    """Measures microseconds."""

    def start(self) -> None:
        """Begin."""
        self._begun = perf_counter()

    def stop(self) -> float:
        """End, and return how many there were."""
        return (perf_counter() - self._begun) * 1e6


class CallCounter:
    """Counts the functions of the library that begin or go on."""

    def __init__(self) -> None:
        self._found = 0

    def start(self) -> None:
        """Begin."""
        sys.setprofile(self._see)

    def stop(self) -> float:
        """End, and return how many there were."""
        sys.setprofile(None)
        return self._found

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        self._found += event == "call" and frame.f_code.co_filename.startswith(LIBRARY)


async def measure(
    settings: dict[str, Any], meter: Stopwatch | CallCounter, rounds: int, jobs: int
) -> float:
    """Cast that many jobs in each round, wait until the pool is idle, and return what each cost."""
    staff: list[Noop] = []
    pool: Pool[int, int] = Pool(queue=UNBOUNDED, args={"staff": staff}, **settings)
    async with pool:
        await wait_all_tasks_blocked()
        meter.start()
        for _ in range(rounds):
            for job in range(jobs):
                pool.cast_nowait(job)
            await pool.wait_idle()
        total = meter.stop()
    require_all(handled(staff), rounds * jobs)
    return total / (rounds * jobs)


def in_line(settings: dict[str, Any], n: int) -> float:
    """Cast all at once."""
    return trio.run(measure, settings, Stopwatch(), 1, n)


def waking(settings: dict[str, Any], n: int) -> float:
    """Cast one for each worker, when all are parked."""
    return trio.run(measure, settings, Stopwatch(), max(1, n // WORKERS), WORKERS)


def calls(settings: dict[str, Any], n: int) -> float:
    """Cast all at once, and count; with long slices, lest the count depend on the machine."""
    steady = type("Steady", (settings["worker"],), {"priority": "max"})
    return trio.run(measure, {**settings, "worker": steady}, CallCounter(), 1, n)


def contestants(
    run: Callable[[dict[str, Any], int], float],
    most: Mapping[str, float] = {},
    limit: Mapping[str, float] = {},
) -> list[Contestant]:
    """Return a contestant for each of the settings."""
    return [
        Contestant(name, partial(run, settings), most=most.get(name), limit=limit.get(name))
        for name, settings in SETTINGS.items()
    ]


CONTESTS = [
    Contest(
        "options, jobs in line",
        "µs per job",
        50_000,
        contestants(in_line, most={"job_timeout": 1.3}),
    ),
    Contest("options, each job wakes a worker", "µs per job", 5_000, contestants(waking)),
    Contest(
        "options, jobs in line: functions of the library called",
        "calls per job",
        20_000,
        contestants(calls, limit={"nothing set": 1.1}),
    ),
]
