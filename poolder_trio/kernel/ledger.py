"""How jobs end: each enters the accounts, tells who waits for it, and is shown to instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from poolder_trio.errors import JobAbandoned, JobCancelled, TooManyRequests
from poolder_trio.kernel.accounts import Tally
from poolder_trio.kernel.failure import Failure
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.unseen import Unseen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from poolder_trio.kernel.instruments import Instruments
    from poolder_trio.kernel.job import Status
    from poolder_trio.policies.aged import Drop


class Ledger:
    """The accounts of one opening of a component. Each job is entered once, when it ends."""

    __slots__ = ("instruments", "tally", "unseen")

    def __init__(self, instruments: Instruments | None) -> None:
        self.tally = Tally()
        self.unseen = Unseen()
        self.instruments = instruments

    def tell(self, hook: str, *args: object) -> None:
        """Call a hook of the instruments, if there are any."""
        if self.instruments is not None:
            self.instruments.tell(hook, *args)

    @trio.lowlevel.enable_ki_protection
    def complete(self, job: Job[Any], reply: object) -> None:
        """End a job whose handler returned."""
        self.tally.completed += 1
        job.complete(reply)
        if self.instruments is not None:
            self.instruments.tell("job_done", job)

    @trio.lowlevel.enable_ki_protection
    def fail(self, job: Job[Any], error: Exception, status: Status = "failed") -> None:
        """End a job that failed, or was halted."""
        self.tally.failed += 1
        owned = job.terms.awaited and status == "failed"
        job.settle(status, error, self.unseen if owned else None)
        self.tell("job_failed", job, error)

    @trio.lowlevel.enable_ki_protection
    def cancel(self, job: Job[Any], how: str) -> None:
        """End a job that was taken back, or cut."""
        self.tally.cancelled += 1
        job.settle("cancelled", JobCancelled(f"the job was cancelled while it {how}"))
        self.tell("job_dropped", job, "cancelled")

    @trio.lowlevel.enable_ki_protection
    def interrupt(self, job: Job[Any], why: BaseException) -> None:
        """End a job whose handler raised what is no failure: those outside the block raise it, too.

        In the accounts it is one of those that were cut while they ran.
        """
        error = why
        try:
            error = Failure(why).another()
        finally:  # to copy runs user code, and Ctrl-C may come: whoever waits is told all the same
            self.tally.cancelled += 1
            job.settle("failed", error)
            self.tell("job_dropped", job, "interrupted")

    @trio.lowlevel.enable_ki_protection
    def drop(self, item: object, rule: str, waiting: int) -> None:
        """End an item that a queue's rule dropped or refused."""
        self.tally.dropped += 1
        if type(item) is Job:
            since = item.terms.since
            waited = None if since is None else trio.current_time() - since
            item.settle("dropped", TooManyRequests(rule, waited=waited, waiting=waiting))
            self.tell("job_dropped", item, rule)

    @trio.lowlevel.enable_ki_protection
    def shed(self, drops: Sequence[Drop], waiting: int) -> None:
        """End items that were dropped together, each by the rule that its `Drop` names."""
        self.tally.dropped += len(drops)
        jobs = [(drop.item, drop) for drop in drops if type(drop.item) is Job]
        for job, drop in jobs:
            error = TooManyRequests(drop.rule, waited=drop.waited, waiting=waiting)
            job.settle("dropped", error)
        # The accounts are in order before anybody else's code can look at them.
        for job, drop in jobs:
            self.tell("job_dropped", job, drop.rule)

    @trio.lowlevel.enable_ki_protection
    def abandon(self, item: object) -> None:
        """End an item that is not going to run; one that was tried before is cancelled."""
        if type(item) is not Job:
            self.tally.abandoned.append(item)
        elif item.attempt:
            self.cancel(item, "waited for another try")
        else:
            self.tally.abandoned.append(item.subject)
            item.settle("abandoned", JobAbandoned("its component ended before it ran"))
            self.tell("job_dropped", item, "abandoned")
