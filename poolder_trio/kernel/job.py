"""The record of one job: what it is, how far it is, and what came of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

import outcome
import trio

from poolder_trio.errors import JobNotDone
from poolder_trio.kernel import aside, inside
from poolder_trio.kernel.failure import Failure
from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.scheduled import Task
from poolder_trio.kernel.terms import MESSAGE, ONE, SENT
from poolder_trio.kernel.waiters import parked

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import NoReturn, TypeAlias

    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.terms import Terms
    from poolder_trio.kernel.unseen import Unseen

    RaiseCancel: TypeAlias = Callable[[], NoReturn]
    #: The one caller; or it and how to cancel it, if it waits for that as well; or an owner.
    _First: TypeAlias = "trio.lowlevel.Task | tuple[trio.lowlevel.Task, RaiseCancel] | Owner"

T = TypeVar("T")

#: Among watchers: who is there before them.
_FIRST: Any = object()

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

    #: How far a job is that is here.
    status: ClassVar[Status]

    @property
    def box(self) -> Mailbox:
        """The mailbox of the workers that serve the job."""
        ...

    def withdraw(self, job: Job[Any]) -> bool:
        """Cancel ``job``. Return whether it has ended by that, or will once its handler stops."""
        ...


class Owner(Protocol):
    """Who is to be told when a job ends, and nobody else."""

    def job_ended(self, job: Job[Any]) -> None:
        """``job`` has ended; this must not raise."""
        ...


class Call:
    """A function and its arguments, as they were submitted.

    Attributes:
        fn: the function.
        args: its positional arguments, a tuple.
        context: the context of its submitter; it runs in a copy.
    """

    __slots__ = ("args", "context", "fn")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.fn = fn
        self.args = args
        self.context = context

    def __repr__(self) -> str:
        name = getattr(self.fn, "__qualname__", None) or describe(self.fn)
        return f"{name}({', '.join(map(describe, self.args))})"


class Job(Generic[T]):
    """A handle on work that was accepted: how far it is, what came of it, a way to cancel it.

    Attributes:
        message: what was sent; the function, where functions are run.
        attempt: how many tries have begun.
    """

    # There is no ``__init__``: CPython's detour to that of a class with slots takes a third of the
    # time to make one. `record` does that, or whoever cannot afford a call.
    __slots__ = (
        "__weakref__",
        "_unseen",
        "attempt",
        "ending",
        "given",
        "message",
        "place",
        "terms",
        "value",
        "waits",
    )

    message: object
    #: What ``message`` is called with, if it is a function, in the form that ``terms`` say.
    given: object
    terms: Terms
    #: Where it is; ``None``: it has ended.
    place: Place | None
    attempt: int
    #: The one caller, or an owner; or watchers, among them that one under `_FIRST`.
    waits: _First | dict[object, Callable[[], object]] | None
    #: How it ended, and its result, or its `Failure`. They are set when they are known: a store
    #: for each job has its price.
    ending: Status
    value: Any  # a T, or a Failure; a cast would be a call for each job
    _unseen: Unseen | None

    def __repr__(self) -> str:
        return f"<Job {describe(self.subject)}: {self.status}, attempt {self.attempt}>"

    @property
    def status(self) -> Status:
        """How far the job is, or how it ended.

        ``"waiting"``, ``"running"``, ``"backing-off"``; or ``"done"``, ``"failed"``, ``"halted"``,
        ``"cancelled"``, ``"dropped"``, ``"abandoned"``.
        """
        return self.ending if self.place is None else self.place.status

    @property
    def args(self) -> tuple[object, ...] | None:
        """What ``message`` is called with; ``None``: it is no function."""
        if self.terms.form is MESSAGE:
            return None
        if self.terms.form is ONE:
            return (self.given,)
        return cast("tuple[object, ...]", self.given)

    @property
    def subject(self) -> object:
        """What the job is about: its message, its call, or the name of what is scheduled."""
        args = self.args
        if args is None:
            return self.message
        if type(self.message) is Task:
            return self.message.name
        return Call(cast("Callable[..., object]", self.message), args, self.terms.context)

    @property
    def ended(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self.place is None

    def result(self) -> T:
        """Return the result, or raise what the job failed with; as often as you like.

        Raises:
            JobNotDone: it has not ended.
            JobHalted, JobCancelled, JobAbandoned, JobTimeout, WorkerCrashed, TooManyRequests: it
                ended without an exception of its own.
        """
        if self.place is not None:
            message = f"the job is {self.status}: wait() for it, or ask again when it has ended"
            raise JobNotDone(message)
        if self.ending == "done":
            return self.value  # type: ignore[no-any-return]  # see its declaration
        self.look()
        try:
            raise self.value.again()
        finally:
            del self  # who keeps the error keeps this frame

    def outcome(self) -> outcome.Outcome[T]:
        """Return what came of it, as a value: the one look at it.

        No copy is made of an error, since this is asked while those who wait are woken: to copy
        runs user code, and Ctrl-C may come.
        """
        if self.ending == "done":
            return outcome.Value(self.value)
        self.look()
        return outcome.Error(self.value.once())

    async def wait(self) -> T:
        """Wait until the job has ended, and return or raise what came of it, as `result` does.

        A cancelled waiter stops waiting; the job goes on.

        Raises:
            RuntimeError: a function waits for a job of its own component, whose workers all wait
                likewise: for ever.
        """
        try:
            await self.wait_done()
            return self.result()
        finally:
            del self  # as above

    @trio.lowlevel.enable_ki_protection
    async def wait_done(self) -> None:
        """Wait until the job has ended, in whatever way; raises ``RuntimeError`` as `wait` does."""
        if self.place is None:
            await trio.lowlevel.checkpoint()
            self.look()
        elif inside.anywhere():
            box = self.place.box
            with inside.waiting_for(box.crew, box, "a wait for its job"):
                await parked(self._enter, self._leave)
            self.look()
        else:
            await parked(self._enter, self._leave)
            self.look()

    def _enter(self, task: trio.lowlevel.Task) -> None:
        self.watch(task, partial(trio.lowlevel.reschedule, task))

    def _leave(self, task: trio.lowlevel.Task) -> bool:
        self.unwatch(task)
        return True

    def belongs_to(self, owner: Owner) -> None:
        """Tell ``owner`` when this job ends: one that nobody else waits for."""
        if self.waits is None:
            self.waits = owner
        else:
            self._put_first(owner)

    @trio.lowlevel.enable_ki_protection
    def watch(self, watcher: object, wake: Callable[[], object]) -> None:
        """Call ``wake()``, which must not raise, when this job ends. It has not ended yet."""
        if not isinstance(self.waits, dict):
            self.waits = {} if self.waits is None else {_FIRST: cast("Any", self.waits)}
        self.waits[watcher] = wake

    def unwatch(self, watcher: object) -> None:
        """Do not wake ``watcher``; nothing happens if that was done already."""
        if isinstance(self.waits, dict):
            self.waits.pop(watcher, None)

    @trio.lowlevel.enable_ki_protection
    def look(self) -> None:
        """Note that somebody knows how this job ended."""
        if self.ending == "failed" and self._unseen is not None:
            self._unseen.remove(self)
            self._unseen = None

    @trio.lowlevel.enable_ki_protection
    def cancel(self) -> None:
        """Withdraw the job if it waits, cancel its handler if it runs; nothing if it has ended."""
        if self.place is not None:
            self.place.box.crew.home.require()
            self.place.withdraw(self)

    # Like `parked`, but for each call: with one frame, and no function of its own.
    @trio.lowlevel.enable_ki_protection
    async def answer(self) -> T:
        """Wait as the only one who wants the answer: a cancelled caller takes the job along.

        It leaves only when the job has ended, so that nothing of the call is left behind.
        """
        if self.place is None:
            # A cancelled caller takes a job along that has not ended; one that has, it is told of.
            if self.ending in ("cancelled", "abandoned"):
                await trio.lowlevel.checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            if self.waits is None:
                self.waits = trio.lowlevel.current_task()
            else:
                self._put_first(trio.lowlevel.current_task())
            # It is woken with nothing: no frame that knows the job is in an error's traceback.
            try:
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            finally:
                # `_abort` may have set it meanwhile.
                if self.waits is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    aside.flush()
        if self.ending == "done":
            return cast("T", self.value)
        self.look()
        try:
            raise self.value.once()
        finally:
            del self

    def _put_first(self, first: _First | None) -> _First | None:
        """Let the one caller, or owner, be another; return who it was."""
        waits = self.waits
        if isinstance(waits, dict):
            before = waits.pop(_FIRST, None)
            if first is not None:
                self.waits = {_FIRST: cast("Any", first), **waits}
            return cast("_First | None", before)
        self.waits = first
        return waits

    @trio.lowlevel.enable_ki_protection
    def _abort(self, raise_cancel: RaiseCancel) -> trio.lowlevel.Abort:
        assert self.place is not None
        caller = self._put_first(None)
        with aside.ABORT:
            withdrawn = self.place.withdraw(self)
        if withdrawn:
            if self.waits is None:
                self.waits = {}  # `answer` sees that something may have been held back
            return trio.lowlevel.Abort.SUCCEEDED
        assert isinstance(caller, trio.lowlevel.Task)
        self._put_first((caller, raise_cancel))
        return trio.lowlevel.Abort.FAILED

    @trio.lowlevel.enable_ki_protection
    def complete(self, value: object) -> None:
        """End the job with its result, and wake who waits for it."""
        self.place = None
        self.terms = self.terms.ended
        self.ending = "done"
        self.value = value
        if self.waits is not None:
            self.tell()

    @trio.lowlevel.enable_ki_protection
    def settle(
        self, status: Status, error: BaseException | Failure[Any], unseen: Unseen | None = None
    ) -> None:
        """End the job without a result, and wake who waits for it.

        Args:
            status: how it ended.
            error: what is raised instead; a `Failure`, if other jobs end by it, too.
            unseen: where it is kept until somebody looks at it, if no caller waits for it.
        """
        assert self.place is not None, "a job ends once"
        self.place = None
        self.terms = self.terms.ended
        self.ending = status
        self.value = error if type(error) is Failure else Failure(cast("BaseException", error))
        waits = self.waits
        called = _FIRST in waits if isinstance(waits, dict) else waits is not None
        self._unseen = None if called else unseen
        if self._unseen is not None:
            self._unseen.add(self)
        if waits is not None:
            self.tell()

    def tell(self) -> None:
        """Wake who waits. A parked caller holds the only path to its job, which lets go of it."""
        waits, self.waits = self.waits, None
        if isinstance(waits, trio.lowlevel.Task):
            trio.lowlevel.reschedule(waits)
        elif isinstance(waits, dict):
            first = cast("_First | None", waits.pop(_FIRST, None))
            if first is not None:
                self._tell_first(first)
            for wake in waits.values():
                wake()
        elif waits is not None:
            self._tell_first(waits)

    def _tell_first(self, first: _First) -> None:
        if isinstance(first, trio.lowlevel.Task):
            trio.lowlevel.reschedule(first)
        elif not isinstance(first, tuple):
            first.job_ended(self)
        elif self.ending == "cancelled" or (
            # Who is cancelled is not told of an interruption: it leaves the block by itself.
            self.ending == "failed" and not isinstance(self.value.error, Exception)
        ):
            trio.lowlevel.reschedule(first[0], outcome.capture(first[1]))
        else:
            trio.lowlevel.reschedule(first[0])


def fill(job: Job[Any], message: object, place: Place, terms: Terms, given: object = None) -> None:
    """Set what a job begins with."""
    job.message = message
    job.place = place
    job.terms = terms
    job.given = given
    job.attempt = 0
    job.waits = None


def record(message: object, place: Place, terms: Terms = SENT, given: object = None) -> Job[Any]:
    """Return the record of a job: a message, or a function and what it is given."""
    job: Job[Any] = Job()
    fill(job, message, place, terms, given)
    return job
