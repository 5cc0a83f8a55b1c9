"""What became of every job: the counts while a component runs, and the report at its end."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

M_co = TypeVar("M_co", covariant=True)


@attrs.frozen(kw_only=True)
class Statistics:
    """The counts of one moment; ``submitted`` is the sum of the others."""

    #: Jobs accepted so far; a broadcast counts once for each worker.
    submitted: int
    #: Jobs whose handler returned.
    completed: int
    #: Jobs that failed, halted ones included.
    failed: int
    #: Jobs withdrawn while they waited, or cut while they ran.
    cancelled: int
    #: Jobs that a queue's rule dropped or refused.
    dropped: int
    #: Jobs accepted that never ran and never will.
    abandoned: int
    #: Jobs in a handler at this moment.
    running: int
    #: Jobs accepted that are not in a handler: waiting, or backing off.
    waiting: int


@attrs.frozen(kw_only=True)
class ScheduleStatistics(Statistics):
    """The counts of one moment where jobs run by the clock, too."""

    #: Firings that led to a run, those by hand included.
    fired: int
    #: Firings that did not, because the job ran and ``overlap`` says to skip.
    skipped: int
    #: Firings that did not because they were too late, or because one run stands for several.
    missed: int


def with_firings(runs: Statistics, firings: tuple[int, int, int]) -> ScheduleStatistics:
    """Return the counts of runs together with those of firings: fired, skipped and missed."""
    fired, skipped, missed = firings
    return ScheduleStatistics(**attrs.asdict(runs), fired=fired, skipped=skipped, missed=missed)


@attrs.frozen(kw_only=True)
class ShutdownReport(Generic[M_co]):
    """What became of the jobs of one opening, as far as it is known: all of them at its end."""

    #: Jobs whose handler returned.
    completed: int
    #: Jobs that failed, halted ones included.
    failed: int
    #: Jobs withdrawn while they waited, or cut while they ran.
    cancelled: int
    #: Jobs that a queue's rule dropped or refused.
    dropped: int
    #: The jobs accepted that never ran, in no particular order.
    abandoned: tuple[M_co, ...]


class Tally:
    """The final counts. A job enters exactly one of them, exactly once, when it ends."""

    __slots__ = ("abandoned", "cancelled", "completed", "dropped", "failed")

    def __init__(self) -> None:
        self.completed = 0
        self.failed = 0
        self.cancelled = 0
        self.dropped = 0
        self.abandoned: list[object] = []

    def statistics(self, running: int, waiting: int) -> Statistics:
        """Return the counts of this moment.

        ``submitted`` is not counted but summed up: the sum then cannot fail to hold, and no job
        pays for it. That the sum equals what was accepted is for the tests to show.
        """
        ended = self.completed + self.failed + self.cancelled + self.dropped + len(self.abandoned)
        return Statistics(
            submitted=ended + running + waiting,
            completed=self.completed,
            failed=self.failed,
            cancelled=self.cancelled,
            dropped=self.dropped,
            abandoned=len(self.abandoned),
            running=running,
            waiting=waiting,
        )

    def report(self) -> ShutdownReport[object]:
        """Return what became of the jobs that have ended."""
        return ShutdownReport(
            completed=self.completed,
            failed=self.failed,
            cancelled=self.cancelled,
            dropped=self.dropped,
            abandoned=tuple(self.abandoned),
        )
