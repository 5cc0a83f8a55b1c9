"""One worker's place in a crew: it takes jobs from a mailbox and runs them, one at a time."""

from __future__ import annotations

import enum
import inspect
import math
import random
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import trio

from poolder_trio.errors import JobHalted, JobTimeout, WorkerCrashed
from poolder_trio.kernel import aside
from poolder_trio.kernel.backoff import BackOff
from poolder_trio.kernel.job import Job, record
from poolder_trio.kernel.notes import add_note, describe, set_context
from poolder_trio.kernel.terms import MESSAGE
from poolder_trio.policies.slices import SLICES
from poolder_trio.verdicts import HALT, Backoff, Directive, Emit, ErrorVerdict, Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack
    from typing import Any

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Status
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.policies.retry import Retry


class Handler(Protocol):
    """What a seat asks of the worker that sits on it."""

    retry: Retry
    callbacks: Mapping[str, Callable[..., object]]
    priority: str
    hibernate_after: float
    stack: AsyncExitStack

    async def handle_init(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Get ready."""
        ...

    async def handle_job(self, job: Any, /) -> object:  # noqa: ANN401  # its message type is the user's
        """Handle a job that nobody waits for."""
        ...

    async def handle_call(self, request: Any, /) -> object:  # noqa: ANN401  # its message type is the user's
        """Handle a job and reply."""
        ...

    async def handle_error(self, job: Any, attempt: int, error: Exception, /) -> object:  # noqa: ANN401  # its message type is the user's
        """Say what to do about a failed try."""
        ...

    async def handle_hibernate(self) -> None:
        """Rest."""
        ...

    async def handle_stop(self) -> None:
        """Clean up."""
        ...


class Cut(enum.Enum):
    """Why a running job's scope was cancelled."""

    CANCEL = enum.auto()
    TIMEOUT = enum.auto()


class Woken(enum.Enum):
    """What a parked worker gets in place of an item."""

    TO_LEAVE = enum.auto()
    TO_LOOK_AGAIN = enum.auto()


NOTHING = Woken.TO_LOOK_AGAIN


class Seat:
    """A worker's seat. It stays while the workers on it are replaced.

    Attributes:
        busy: whether a job is in hand: taken, and neither ended nor back in a waiting room.
        signal: whether to look up after this job: it was cut, or the seat is to be left.
        item: the job in hand, if it has a record or a clock runs.
        first: what the worker is to begin with, if it was called in for something, or has been
            handed it during a pause.
        parked: whether the worker waits at its channel.
        opened: whether a worker was ready here once.
        alive: whether jobs may be sent here.
        role: what the employer keeps about this seat.
        crash: what ended the last worker here, if it crashed.
    """

    __slots__ = (
        "_cut",
        "_pace",
        "_receive",
        "_scope",
        "_share",
        "alive",
        "below",
        "box",
        "busy",
        "crash",
        "crew",
        "dismissed",
        "elsewhere",
        "first",
        "gone",
        "hibernated",
        "home",
        "index",
        "item",
        "leaving",
        "life",
        "name",
        "opened",
        "parked",
        "role",
        "signal",
        "started",
        "task",
        "worker",
    )

    status: ClassVar[Status] = "running"

    def __init__(self, crew: Crew, index: int, box: Mailbox) -> None:
        self.crew = crew
        self.index = index
        self.name = f"{crew.name}[{index}]"
        self.box = box
        self.worker: Handler
        self.task: trio.lowlevel.Task | None = None
        #: The task in which handlers run, and how many of its nurseries are not a handler's.
        self.home: trio.lowlevel.Task | None = None
        self.below = 0
        #: Whether handlers run in another thread or process.
        self.elsewhere = False
        self.life = trio.CancelScope()
        self.gone = trio.Event()
        self.opened = False
        self.alive = False
        self.leaving = False
        self.dismissed = False
        self.signal = False
        self.parked = False
        self.busy = False
        self.first: object = NOTHING
        self.role: object = None
        self.crash: Exception | None = None
        #: When the attempt in hand began, by Trio's clock; kept only where the crew is clocked.
        self.started = math.inf
        self.hibernated = False
        self.item: object = None
        self._cut: Cut | None = None
        self._scope = trio.CancelScope()
        self._receive = box.receiver()

    def seat(self, worker: Handler) -> None:
        """Put a worker on the seat."""
        self.worker = worker
        self.crash = None
        self.hibernated = False
        self._share = SLICES[worker.priority]
        self._pace = self.crew.pace()
        self.home_is(self.task)

    def home_is(self, task: trio.lowlevel.Task | None) -> None:
        """Note in which task handlers run; the nurseries that it has by now are not theirs."""
        self.home = task
        self.below = 0 if task is None else len(task.child_nurseries)

    @property
    def load(self) -> int:
        """How many jobs wait for this seat, or are in hand."""
        return self.box.waiting + self.box.room.reserved + self.busy

    @trio.lowlevel.enable_ki_protection
    def leave(self) -> None:
        """Let the worker end after the job in hand, and nobody come after it."""
        self.dismissed = self.leaving = self.signal = True
        self.let_look()
        waited = self._receive.statistics().tasks_waiting_receive
        self._receive.close()
        if self._receive.statistics().tasks_waiting_receive < waited:
            self._stand_up()  # its task has not run yet, but it takes no more

    def _stand_up(self) -> None:
        """Wait at the channel no more, without having been handed anything."""
        self.parked = False
        self.box.unpark(self._receive)
        self.crew.awake += 1

    @trio.lowlevel.enable_ki_protection
    def cut(self, why: Cut) -> None:
        """Cancel the attempt in hand, and nothing else."""
        if self._cut is None or why is Cut.CANCEL:
            self._cut = why
        self.signal = True
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    def follow_up(self, item: object) -> None:
        """Begin with ``item`` when the job in hand is done, before any other."""
        self.first, self.signal = item, True
        self.box.handed += 1

    @trio.lowlevel.enable_ki_protection
    def hand_back(self, message: object) -> None:
        """Let another have the job in hand, which was not begun; its handler then raises."""
        item = self.item
        if type(item) is Job and item.place is self:
            item.attempt -= 1
        else:
            item = message
        self._let_go(item)
        self._cut, self.signal = Cut.CANCEL, True
        self.box.give_slot_back()
        self.crew.restore(self.box, item)

    def withdraw(self, job: Job[Any]) -> bool:  # noqa: ARG002
        """Cancel the job in hand; it ends when its handler has stopped."""
        self.cut(Cut.CANCEL)
        return False

    @trio.lowlevel.enable_ki_protection
    async def serve(self) -> None:
        """Run jobs until the seat is left."""
        again: list[tuple[Job[Any], Exception]] = []
        while True:
            # A scope that was cancelled for one job would cancel the next: each cut is followed
            # by a fresh one.
            self._cut = None
            self.signal = self.leaving or self.crew.surplus > 0
            self._scope = trio.CancelScope()
            clean_up: Exception | None = None
            try:
                with self._scope:
                    if await self._work(again):
                        if self.leaving or self.crew.dismiss_surplus(self):
                            return
                        if self.first is not NOTHING:
                            # What follows up may be followed up itself, without end.
                            await trio.lowlevel.checkpoint()
                        continue
            except Exception as error:
                if self._cut is None:
                    raise
                clean_up = error
            again = self._after_cut(clean_up)
            clean_up = None

    @trio.lowlevel.enable_ki_protection
    async def _work(self, again: list[tuple[Job[Any], Exception]]) -> bool:
        """Take and run jobs. Return whether the seat is left; if not, the scope was cut."""
        if again:
            await self._run(*again.pop())
        box = self.box
        first = await self._hold() if box.paused else self._begin()
        while first is not NOTHING or not self.signal:
            if first is not NOTHING:
                self.item, first = first, NOTHING
            else:
                try:
                    self.item = box.take()
                except IndexError:
                    # Who rests holds on to nothing of what it did.
                    self.item = None
                    item = await self._park()
                    if box.paused and not isinstance(item, Woken):
                        self.first = item
                        del item
                        first = await self._hold()
                        continue
                    if isinstance(item, Woken) or not box.received(item):
                        del item
                        continue
                    self.item = item
                    del item
            self.busy = True
            self.hibernated = False
            await self._burst()
        return self._cut is None

    @trio.lowlevel.enable_ki_protection
    async def _burst(self) -> None:  # noqa: C901, PLR0912, PLR0915  # one loop: a call costs as much as a job
        """Run the job in hand and those that wait, until none does or others are to have a turn."""
        crew, box, tally, handle = self.crew, self.box, self.crew.tally, self.worker.handle_job
        answer = self.worker.handle_call
        clock = crew.clock if crew.clocked else None
        plain = clock is None and crew.ledger.instruments is None and not crew.keyed
        # A function's value is its value, whatever it is.
        functions = crew.limit is not None
        directive = () if functions else Directive
        reply: object = None
        failed = failure = None
        item = self.item
        if type(item) is not Job:
            self.item = None
        if clock is not None:
            crew.watch()
        pace = self._pace
        stride = left = pace.begin(perf_counter(), self._share / crew.awake)
        try:
            while True:
                if type(item) is Job:
                    if plain and (
                        item.terms.awaited or (functions and item.terms.form is not MESSAGE)
                    ):
                        # The first try of a call, without the frame that the other tries need.
                        self.item, item.place = item, self
                        item.attempt += 1
                        try:
                            reply = await answer(
                                item.message if item.terms.form is MESSAGE else item
                            )
                            if isinstance(reply, directive):
                                reply = await self._obey(reply)
                        except Exception as error:
                            if self._cut is not None:
                                raise
                            failure = error
                        else:
                            tally.completed += 1
                            item.complete(reply)
                        if failure is not None:
                            failed, failure = failure, None
                            await self._run(item, failed)
                            failed, self.busy = None, True
                    else:
                        await self._run(item)
                        self.busy = True
                else:
                    if clock is not None:
                        self.item, self.started = item, clock()
                    try:
                        reply = await handle(item)
                        if reply is not None and isinstance(reply, directive):
                            await self._obey(reply)
                    except Exception as error:
                        if self._cut is not None:
                            raise
                        failure = error
                    else:
                        tally.completed += 1
                    if failure is not None:
                        failed, failure = failure, None
                        await self._run(self._record(item), failed)
                        failed, self.busy = None, True
                if self.signal:
                    break
                left -= 1
                if not left:
                    stride = left = pace.next_stride(stride, perf_counter())
                    if not left:
                        break
                try:
                    item = box.take()
                except IndexError:
                    break
            self.busy = False
        finally:
            # Who keeps an error keeps this frame, but nothing of what ran here.
            item = reply = failed = None
        if not left:
            await trio.lowlevel.checkpoint()

    def _begin(self) -> object:
        """Return what the worker was called in for, unless that was taken back."""
        item, self.first = self.first, NOTHING
        return item if item is not NOTHING and self.box.received(item) else NOTHING

    async def _hold(self) -> object:
        """Keep what the worker was handed while there is a pause; then return what `_begin` does.

        It was the next in line, so that it goes first when the pause ends; a worker that leaves
        before lets another have it.
        """
        box = self.box
        while box.paused and not self.leaving and self.first is not NOTHING:
            if type(self.first) is Job and self.first.ended:
                break  # it was taken back
            key = self._kept
            try:
                with trio.CancelScope() as box.kept[key]:
                    await trio.sleep_forever()
            finally:
                del box.kept[key]
        if box.paused and self.leaving:
            self.give_back()
        return self._begin()

    @property
    def _kept(self) -> object:
        """By what a mailbox finds this worker's wait: a job can be taken back, a message not."""
        return self.first if type(self.first) is Job else self

    def let_look(self) -> None:
        """Let the worker look again, if it keeps something during a pause."""
        self.box.let_look(self._kept)

    async def _park(self) -> object:
        """Wait at the channel for an item. Nothing waits in the room, or nothing may start."""
        item: object = Woken.TO_LOOK_AGAIN
        handed = False
        self.parked = True
        self.box.park(self._receive)
        self.crew.fell_asleep(self)
        try:
            if self.hibernated or self.worker.hibernate_after == math.inf:
                item = await self._receive.receive()
                handed = True
            else:
                with trio.move_on_after(self.worker.hibernate_after):
                    item = await self._receive.receive()
                    handed = True
        except trio.ClosedResourceError:
            return Woken.TO_LEAVE
        finally:
            if self.parked and not handed:
                self._stand_up()
            self.parked = False
        self.hibernated = not handed
        if not handed:
            await self.worker.handle_hibernate()
        return item

    async def _run(self, job: Job[Any], failure: Exception | None = None) -> None:
        """Run a job that has a record, through its tries, until it ends or backs off.

        Args:
            job: the job.
            failure: what the try that was just made failed with, if one was.
        """
        crew = self.crew
        self.item = job
        job.place = self
        self.busy = True
        reply: object = None
        try:
            while True:
                if failure is None:
                    job.attempt += 1
                    if crew.ledger.instruments is not None:
                        crew.ledger.tell("job_started", job, self.worker)
                    if crew.clocked:
                        self.started = crew.clock()
                    try:
                        reply = await self._handle(job)
                        if isinstance(reply, Directive) and crew.limit is None:
                            reply = await self._obey(reply)
                    except Exception as error:
                        if self._cut is not None:
                            raise
                        failure = error
                    else:
                        self._let_go(job)
                        crew.ledger.complete(job, reply)
                        return
                if not await self._try_again(job, failure):
                    return
                failure = None
        finally:
            # Who keeps an error keeps this frame, but nothing of what ran here.
            reply = None
            del job, failure

    def _handle(self, job: Job[Any]) -> Awaitable[object]:
        if job.args is None:
            handle = self.worker.handle_call if job.terms.awaited else self.worker.handle_job
            return handle(job.message)
        if self.crew.limit is not None:
            return self.worker.handle_call(job)
        # A function that is sent to somebody's worker is called with the worker.
        return unprotected(cast("Callable[..., object]", job.message), self.worker, *job.args)

    async def _try_again(self, job: Job[Any], error: Exception) -> bool:
        """Ask what to do about a failed try, and do it, but for a try that is to be made now."""
        try:
            crew = self.crew
            self.started = math.inf
            wait: float | None = None
            verdict: object = None
            if trio.current_effective_deadline() == -math.inf:
                # The worker is cancelled: this is what a clean-up raised, and there is no next try.
                self._give_up(job, error, halted=False)
                return False
            try:
                verdict = await self._ask(job, error)
                if verdict is not HALT:
                    wait = self._wait(job, error, verdict)
            except Exception as second:
                if self._cut is not None:
                    raise
                if second is not error and second.__context__ is None:
                    set_context(second, error)
                error = second
            if self._cut is Cut.CANCEL:
                self._take_back(job)
                return False
            if wait is None:
                self._give_up(job, error, halted=verdict is HALT)
                return False
            crew.ledger.tell("job_retried", job, error, wait)
            if wait > 0:
                self._let_go(job)
                BackOff(job, self.box, wait)
                return False
            if crew.gate is not None:
                await crew.gate.turn()
            else:
                await trio.lowlevel.checkpoint()
            return True
        finally:
            del job, error  # as above

    def _let_go(self, item: object) -> None:
        """Note that the job in hand is not in hand any more."""
        self.busy = False
        if self.crew.keyed and type(item) is Job:
            self.box.done(item.terms.key)

    async def _ask(self, job: Job[Any], error: Exception) -> ErrorVerdict | Backoff | None:
        verdict = await self.worker.handle_error(job.subject, job.attempt, error)
        if isinstance(verdict, Backoff) and verdict.only is not None:
            message = f"Backoff takes only= in a Batcher, got {verdict!r} ({self.name})"
            raise TypeError(message)
        if verdict is None or isinstance(verdict, (ErrorVerdict, Backoff)):
            return verdict
        message = (
            f"handle_error must return RETRY, HALT, Backoff(seconds) or None, "
            f"got {verdict!r} ({type(self.worker).__name__})"
        )
        raise TypeError(message)

    @trio.lowlevel.disable_ki_protection
    def _wait(
        self, job: Job[Any], error: Exception, verdict: ErrorVerdict | Backoff | None
    ) -> float | None:
        chance = random.random()  # noqa: S311  # spreads retries, guards nothing
        return self.worker.retry.next_try(job.attempt, error, verdict, chance)

    async def _obey(self, directive: Directive) -> object:
        """Do what a handler asked for by its return value; return the job's reply."""
        if isinstance(directive, Emit):
            callback = self.worker.callbacks.get(directive.name)
            if callback is None:
                known = ", ".join(map(repr, self.worker.callbacks)) or "none"
                message = f"{self.name} has no callback {directive.name!r}; it has: {known}"
                raise LookupError(message)
            return await unprotected(callback, *directive.args)
        if isinstance(directive, Exit):
            self.crew.exits(self)
            return directive.reply
        if isinstance(directive, Stop):
            self.crew.stop()
            return directive.reply
        message = f"{directive!r} means nothing to a worker"
        raise TypeError(message)

    def _record(self, item: object) -> Job[Any]:
        job = record(item, self)
        job.attempt = 1
        return job

    def _give_up(self, job: Job[Any], error: Exception, *, halted: bool) -> None:
        """Tell the failure's one owner: nobody if it is handled, the caller, or the crew."""
        # While the job is in hand: what describes it is user code, and Ctrl-C may come.
        where = f"job {describe(job.subject)} on {self.name}, attempt {job.attempt}"
        attempts = self.worker.retry.attempts
        add_note(error, f"{where} of {attempts}")
        if halted:
            halt = JobHalted(f"{where}: halted by handle_error")
            halt.__cause__ = error
            self._fail(job, halt, "halted")
            return
        self._fail(job, error)
        if not job.terms.awaited:
            try:
                raise error
            finally:
                del job, error  # as above

    @aside.whole
    def _fail(self, job: Job[Any], error: Exception, status: Status = "failed") -> None:
        self._let_go(job)
        self.crew.ledger.fail(job, error, status)

    @aside.whole
    def _take_back(self, job: Job[Any]) -> None:
        self._let_go(job)
        self.crew.ledger.cancel(job, "ran")

    def _after_cut(self, clean_up: Exception | None) -> list[tuple[Job[Any], Exception]]:
        """Settle the job that was cut, or return it with its error if it may be tried again.

        Args:
            clean_up: what the handler raised while it was cancelled, if anything.
        """
        if not self.busy:
            return []  # it completed all the same
        item = self.item
        job = item if type(item) is Job and item.place is self else self._record(item)
        if self._cut is Cut.TIMEOUT:
            error = JobTimeout(
                f"the attempt took longer than job_timeout={self.crew.job_timeout:g} s"
            )
            error.__cause__ = clean_up
            return [(job, error)]
        if clean_up is None:
            self._take_back(job)
        else:
            self._give_up(job, clean_up, halted=False)
        return []

    @trio.lowlevel.enable_ki_protection
    def died(self, error: Exception) -> None:
        """Fail the job in hand, if there is one: its worker was ended under it by ``error``."""
        if self.crew.family is not None:
            self.crash = error
        if self.busy:
            self._lost(error)
        self.item = None  # it knows its error, which knows a frame that knows this seat

    def _lost(self, error: Exception) -> None:
        item = self.item
        if type(item) is Job and item.place is self:
            crash = WorkerCrashed(f"{self.name} was ended under job {describe(item.subject)}")
            crash.__cause__ = error
            self._fail(item, crash)
        else:
            self._let_go(item)
            self.crew.tally.failed += 1

    def in_hand(self) -> str:
        """Return a short description of the job in hand, where the crew is clocked."""
        return describe(self.item.subject if type(self.item) is Job else self.item)

    @trio.lowlevel.enable_ki_protection
    def give_back(self) -> None:
        """Let another have what the worker was called in for, if it ended before it began."""
        item, self.first = self.first, NOTHING
        if item is not NOTHING:
            self.box.give_back(item)

    @aside.whole
    def cut_off(self, why: BaseException | None = None) -> None:
        """Settle the job in hand, if there is one: the worker ended in the middle of it.

        Args:
            why: what its handler raised, if that is no failure and no cancellation.
        """
        if not self.busy:
            return
        item = self.item
        self._let_go(item)
        if type(item) is not Job or item.place is not self:
            self.crew.tally.cancelled += 1
        elif why is None:
            self.crew.ledger.cancel(item, "ran")
        else:
            self.crew.ledger.interrupt(item, why)


@trio.lowlevel.disable_ki_protection
async def unprotected(fn: Callable[..., object], *args: object) -> object:
    """Call a user's function, sync or async, as Ctrl-C finds user code: interruptible."""
    result = fn(*args)
    return await result if inspect.isawaitable(result) else result
