"""One scheduled job: what runs, when, and what of it is on its way."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, ClassVar

from poolder_trio.kernel import aside
from poolder_trio.kernel.terms import form_of, packed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from poolder_trio.abc import Trigger
    from poolder_trio.kernel.job import Job, Status
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.schedules import Schedules
    from poolder_trio.kernel.terms import Terms


class Task:
    """What a run of a scheduled job calls. A run is a `Job` whose message this is.

    A run keeps what it was made with, though the job may be given something else meanwhile.
    """

    __slots__ = ("_fn", "given", "name", "terms")

    def __init__(
        self,
        name: str,
        fn: Callable[..., Awaitable[object]],
        given: object,
        terms: Terms,
    ) -> None:
        self.name = name
        self._fn = fn
        self.given = given
        self.terms = terms

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: object) -> Awaitable[object]:
        """Call what is scheduled."""
        return self._fn(*args)


_NO_CONTEXT = Context()


async def _nothing() -> None:
    """Stand for what a job ran that is not to fire any more."""


class Scheduled:
    """A job with a trigger.

    Attributes:
        name: of the job.
        ticket: its place on the agenda; 0: it is not to fire.
        anchor: when it was scheduled, by Trio's clock, if it is an interval that counts from then;
            ``None``: it goes by the wall clock.
        due: when it fires next, in seconds of its clock.
        runs: those that were started and have not ended.
        pending: one that is to start when they have ended.
    """

    __slots__ = (
        "_args",
        "_context",
        "_fn",
        "_schedules",
        "_task",
        "anchor",
        "due",
        "name",
        "pending",
        "runs",
        "ticket",
        "trigger",
    )

    anchor: float | None
    due: float
    trigger: Trigger

    def __init__(
        self,
        schedules: Schedules,
        name: str,
        fn: Callable[..., Awaitable[object]],
        args: tuple[object, ...],
        context: Context,
    ) -> None:
        self._schedules = schedules
        self.name = name
        self._fn = fn
        self._args = args
        self._context = context
        self.ticket = 0
        self.runs: tuple[Job[Any], ...] = ()
        self.pending: Job[Any] | None = None
        self._task: Task | None = None

    def runs_from_now_on(
        self, fn: Callable[..., Awaitable[object]], args: tuple[object, ...], context: Context
    ) -> None:
        """Let the next runs call ``fn``."""
        self._fn = fn
        self._args = args
        self._context = context
        self._task = None

    def let_go(self) -> Context:
        """Keep nothing of what it ran: its place on the agenda may stay for long.

        Returns the context that it ran in.
        """
        context = self._context
        self.runs_from_now_on(_nothing, (), _NO_CONTEXT)
        return context

    @property
    def task(self) -> Task:
        """What the next runs call; most jobs wait for long before there is a first."""
        if self._task is None:
            terms = self._schedules.terms(self._context, form_of(self._args))
            self._task = Task(self.name, self._fn, packed(self._args), terms)
        return self._task

    def job_ended(self, job: Job[Any]) -> None:
        """Note that a run has ended."""
        runs = self.runs
        self.runs = () if len(runs) == 1 else tuple(run for run in runs if run is not job)
        if not self.runs:
            self._schedules.all_ended(self)


class Pending:
    """Where a run is that waits until the one before it has ended."""

    __slots__ = ("_entry", "_schedules")

    status: ClassVar[Status] = "waiting"

    def __init__(self, schedules: Schedules, entry: Scheduled) -> None:
        self._schedules = schedules
        self._entry = entry

    @property
    def box(self) -> Mailbox:
        """A mailbox of the workers that serve the run."""
        return next(iter(self._schedules.crew.boxes))

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the run before it begins."""
        self._schedules.crew.held -= 1
        self._entry.pending = None
        self._schedules.crew.ledger.cancel(job, "waited")
        return True
