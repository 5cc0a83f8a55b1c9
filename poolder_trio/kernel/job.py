"""The record of one job: what it is, how far it is, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, cast

import outcome
import trio

from poolder_trio.errors import JobCancelled, JobNotDone
from poolder_trio.kernel.notes import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any, NoReturn, TypeAlias

    RaiseCancel: TypeAlias = Callable[[], NoReturn]

T = TypeVar("T")

Status = Literal[
    "waiting",
    "running",
    "backing-off",
    "done",
    "failed",
    "halted",
    "cancelled",
    "dropped",
    "abandoned",
]


class Place(Protocol):
    """Where a job is that has not ended: a waiting room, a seat, or a back-off."""

    def withdraw(self, job: Job[Any]) -> bool:
        """Cancel ``job``. Return whether it has ended by that, or will once its handler stops."""
        ...


class Job(Generic[T]):
    """A handle on work that was accepted: how far it is, what came of it, a way to cancel it.

    Attributes:
        message: what was sent.
        attempt: how many tries have begun.
        status: ``"waiting"``, ``"running"``, ``"backing-off"``, or how it ended: ``"done"``,
            ``"failed"``, ``"halted"``, ``"cancelled"``, ``"dropped"`` or ``"abandoned"``.
    """

    __slots__ = (
        "__weakref__",
        "_caller",
        "_error",
        "_raise_cancel",
        "_value",
        "_waiters",
        "attempt",
        "awaited",
        "key",
        "message",
        "place",
        "priority",
        "since",
        "status",
    )

    def __init__(
        self,
        message: object,
        place: Place,
        *,
        awaited: bool = False,
        key: Hashable = None,
        priority: float = 0,
        since: float | None = None,
    ) -> None:
        self.message = message
        self.place: Place | None = place
        self.awaited = awaited
        self.key = key
        self.priority = priority
        self.since = since
        self.status: Status = "waiting"
        self.attempt = 0
        self._value: T | None = None
        self._error: Exception | None = None
        self._caller: trio.lowlevel.Task | None = None
        self._raise_cancel: RaiseCancel | None = None
        self._waiters: dict[trio.lowlevel.Task, None] = _NO_WAITERS

    def __repr__(self) -> str:
        return f"<Job {describe(self.message)}: {self.status}, attempt {self.attempt}>"

    @property
    def ended(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self.place is None

    def result(self) -> T:
        """Return the result, or raise what the job failed with; as often as you like.

        Raises:
            JobNotDone: it has not ended.
        """
        if self.place is not None:
            message = f"the job is {self.status}: wait() for it, or ask again when it has ended"
            raise JobNotDone(message)
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    async def wait(self) -> T:
        """Wait until the job has ended, and return or raise what came of it.

        A cancelled waiter stops waiting; the job goes on.
        """
        await self.wait_done()
        return self.result()

    async def wait_done(self) -> None:
        """Wait until the job has ended, in whatever way."""
        if self.place is None:
            await trio.lowlevel.checkpoint()
            return
        if self._waiters is _NO_WAITERS:
            self._waiters = {}
        task = trio.lowlevel.current_task()
        self._waiters[task] = None

        def abort(_: RaiseCancel) -> trio.lowlevel.Abort:
            del self._waiters[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def cancel(self) -> None:
        """Withdraw the job if it waits, cancel its handler if it runs; nothing if it has ended."""
        if self.place is not None:
            self.place.withdraw(self)

    async def answer(self) -> T:
        """Wait as the only one who wants the answer: a cancelled caller takes the job along.

        It leaves only when the job has ended, so that nothing of the call is left behind.
        """
        if self.place is None:
            await trio.lowlevel.checkpoint()
            return self.result()
        self._caller = trio.lowlevel.current_task()
        return cast("T", await trio.lowlevel.wait_task_rescheduled(self._abort))

    @trio.lowlevel.enable_ki_protection
    def _abort(self, raise_cancel: RaiseCancel) -> trio.lowlevel.Abort:
        assert self.place is not None
        caller, self._caller = self._caller, None
        if self.place.withdraw(self):
            return trio.lowlevel.Abort.SUCCEEDED
        self._caller, self._raise_cancel = caller, raise_cancel
        return trio.lowlevel.Abort.FAILED

    @trio.lowlevel.enable_ki_protection
    def settle(
        self, status: Status, *, value: object = None, error: Exception | None = None
    ) -> None:
        """End the job, once, and wake who waits for it."""
        assert self.place is not None, "a job ends once"
        self.place = None
        self.status = status
        self._value = cast("T", value)
        self._error = error
        caller = self._caller
        if caller is not None:
            # The parked task holds the only path to the job; the job lets go of it.
            self._caller = None
            if error is None:
                trio.lowlevel.reschedule(caller, outcome.Value(value))
            elif self._raise_cancel is not None and isinstance(error, JobCancelled):
                trio.lowlevel.reschedule(caller, outcome.capture(self._raise_cancel))
            else:
                trio.lowlevel.reschedule(caller, outcome.Error(error))
            self._raise_cancel = None
        if self._waiters:
            for task in self._waiters:
                trio.lowlevel.reschedule(task)
            self._waiters = _NO_WAITERS


#: Shared by all jobs that nobody waits for; never written to.
_NO_WAITERS: dict[trio.lowlevel.Task, None] = {}
