"""How batches end: their items enter the accounts, and each caller gets its own result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import trio

from poolder_trio.errors import JobAbandoned, JobCancelled, TooManyRequests
from poolder_trio.kernel import aside
from poolder_trio.kernel.failure import Failure
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.ledger import Ledger
from poolder_trio.kernel.parcel import Asked
from poolder_trio.kernel.terms import AWAITED, SENT

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolder_trio.kernel.batches import Batches
    from poolder_trio.kernel.instruments import Instruments
    from poolder_trio.kernel.job import Status
    from poolder_trio.kernel.parcel import Parcel


class BatchLedger(Ledger):
    """Counts items: a job of its crew is a `Parcel` of them."""

    __slots__ = ("crew",)

    crew: Batches

    def __init__(self, instruments: Instruments | None) -> None:
        super().__init__(instruments)

    @aside.whole
    def complete(self, job: Job[Any], reply: object) -> None:
        """End a batch whose handler returned.

        Args:
            job: the batch's record.
            reply: one result per item, or ``None``.

        Raises:
            Exception: what the handler returned in the place of a result that nobody waits for.
        """
        parcel = cast("Parcel", job.message)
        lost: list[Exception] = []
        failed = 0
        for position, result in enumerate(cast("Sequence[object] | None", reply) or ()):
            asked = None if parcel.asked is None else parcel.asked[position]
            if isinstance(result, Exception):
                failed += 1
                if asked is not None:
                    asked.settle("failed", result)
                if asked is None or asked.left:
                    lost.append(result)
            elif asked is not None:
                asked.complete(result)
        self.tally.completed += len(parcel) - failed
        self.tally.failed += failed
        job.complete(None)
        self.crew.ended_batch(parcel)
        self.tell("job_done", job)
        if lost:
            raise lost[0] if len(lost) == 1 else ExceptionGroup("items of a batch failed", lost)

    @aside.whole
    def fail(self, job: Job[Any], error: Exception, status: Status = "failed") -> None:
        """End a batch that failed, or was halted; it is nobody's if all its callers have gone."""
        parcel = cast("Parcel", job.message)
        self.tally.failed += len(parcel)
        callers = parcel.callers
        failure = Failure(error, len(callers) + 1)
        for asked in callers:
            asked.settle(status, failure)
        job.terms = AWAITED if any(not asked.left for asked in callers) else SENT
        job.settle(status, failure if callers else error)
        self.crew.ended_batch(parcel)
        self.tell("job_failed", job, error)

    @aside.whole
    def cancel(self, job: Job[Any], how: str) -> None:
        """End a batch that was cut, or has no items any more."""
        parcel = cast("Parcel", job.message)
        self.tally.cancelled += len(parcel)
        for asked in parcel.callers:
            asked.cancel_as(how)
        job.settle("cancelled", JobCancelled(f"the batch was cancelled while it {how}"))
        self.crew.ended_batch(parcel)
        self.tell("job_dropped", job, "cancelled")

    @aside.whole
    def interrupt(self, job: Job[Any], why: BaseException) -> None:
        """End a batch whose handler raised what is no failure."""
        parcel = cast("Parcel", job.message)
        callers = parcel.callers
        error = why
        try:
            error = Failure(why).another()
        finally:  # as for a job
            failure = Failure(error, len(callers) + 1)
            self.tally.cancelled += len(parcel)
            for asked in callers:
                asked.settle("failed", failure)
            job.settle("failed", failure)
            self.crew.ended_batch(parcel)
            self.tell("job_dropped", job, "interrupted")

    @aside.whole
    def abandon(self, item: object) -> None:
        """End a batch, or an item of a window, that is not going to run."""
        if type(item) is not Job:
            self._abandon_item(item)
        elif item.attempt:
            self.cancel(item, "waited for another try")
        else:
            parcel = cast("Parcel", item.message)
            self.tally.abandoned.extend(parcel.items)
            for asked in parcel.callers:
                asked.settle("abandoned", _abandoned())
            item.settle("abandoned", _abandoned())
            self.crew.ended_batch(parcel)
            self.tell("job_dropped", item, "abandoned")

    def _abandon_item(self, entry: object) -> None:
        if type(entry) is Asked:
            self.tally.abandoned.append(entry.message)
            entry.settle("abandoned", _abandoned())
        else:
            self.tally.abandoned.append(entry)

    @trio.lowlevel.enable_ki_protection
    def drop(self, item: object, rule: str, waiting: int) -> None:
        """End an item that a queue's rule dropped or refused."""
        self.tally.dropped += 1
        error = TooManyRequests(rule, waited=None, waiting=waiting)
        job = item if type(item) is Asked else record(item, self.crew.in_window)
        job.settle("dropped", error)
        self.tell("job_dropped", job, rule)

    @trio.lowlevel.enable_ki_protection
    def done(self, count: int, callers: Sequence[Asked]) -> None:
        """End items that are done although the try of their batch failed: they have no result."""
        self.tally.completed += count
        for asked in callers:
            asked.complete(None)


def _abandoned() -> JobAbandoned:
    return JobAbandoned("its batcher ended before it ran")
