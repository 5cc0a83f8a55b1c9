"""The workers of one opening of a component: seated, replaced when they crash, and sent home."""

from __future__ import annotations

import bisect
import heapq
import math
import sys
from collections import Counter
from contextvars import copy_context
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
import trio
import trio_util

from poolder_trio.errors import Closed, RestartLimitExceeded
from poolder_trio.kernel import aside, inside, watch
from poolder_trio.kernel.aged_mailbox import mailbox
from poolder_trio.kernel.gate import Gate
from poolder_trio.kernel.home import Home
from poolder_trio.kernel.interruption import interruption
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.notes import add_note, describe, shown
from poolder_trio.kernel.pace import pace_here
from poolder_trio.kernel.seat import NOTHING, Seat
from poolder_trio.kernel.stack import Stack
from poolder_trio.kernel.timers import Timers
from poolder_trio.policies.restart import AfterCrash

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextvars import Context

    from poolder_trio.kernel.accounts import Statistics
    from poolder_trio.kernel.backoff import BackOff
    from poolder_trio.kernel.job import Status
    from poolder_trio.kernel.ledger import Ledger
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Handler
    from poolder_trio.policies.queues import Queue
    from poolder_trio.policies.rate import Rate
    from poolder_trio.policies.restart import Restart


_INDEX = attrgetter("index")


class Employer(Protocol):
    """The component that a crew works for."""

    def employ(self, seat: Seat) -> Handler:
        """Return a fresh worker for ``seat``, not started yet."""
        ...

    def crew_changed(self) -> None:
        """The live seats are others than before."""

    def route_again(self, item: object) -> Mailbox | None:
        """Return a live seat's mailbox for an item whose seat is gone; ``None``: nobody's."""
        ...

    def rests(self, seat: Seat) -> None:
        """The worker on ``seat``, which runs functions, has nothing to do."""

    def close(self) -> None:
        """Accept no more."""


class Family(Protocol):
    """What crews may have in common: each of them goes on when its last worker has gone.

    Attributes:
        nursery: what all of them run in.
    """

    nursery: trio.Nursery

    def departed(self, seat: Seat) -> None:
        """The last worker on ``seat`` has ended, or could not begin."""
        ...


@attrs.frozen
class Rules:
    """What a crew is told once: see the options of the components."""

    queue: Queue
    restart: Restart
    shared: bool = False
    #: Whether a job goes to the free worker that has been free for the shortest time.
    newest_first: bool = False
    rate: Rate | Sequence[Rate] | None = None
    job_timeout: float = math.inf
    overrun_warning: float = math.inf
    #: ``None``: workers are seated by hand. Else so many at most run functions: all are alike, so
    #: they are called in when there is something to do, and a crash replaces none of them.
    limit: int | None = None
    limit_per_key: int | None = None
    #: Whether the component bounds what it accepts, so that back-offs need no places in the room.
    bounded: bool = False
    family: Family | None = None


def _first(failures: list[Exception]) -> Exception:
    """Return the first of several failures at once, with a note on the others, and empty the list.

    What holds on to the list would be held by the error's traceback.
    """
    first = failures[0]
    for other in failures[1:]:
        add_note(first, f"and at the same moment, of another worker: {other!r}")
    failures.clear()
    return first


class Displaced:
    """Where a job is whose seat has gone, until another is found for it."""

    __slots__ = ("box",)

    status: ClassVar[Status] = "waiting"

    def __init__(self, box: Mailbox) -> None:
        self.box = box

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the job."""
        crew = self.box.crew
        crew.held -= 1
        crew.ledger.cancel(job, "waited")
        crew.check_idle()
        return True


class Crew:
    """Seats, and the workers on them.

    Attributes:
        seats: by index; ended ones stay where others follow them, so that no index changes.
        live: the seats to which jobs may be sent, by index.
        awake: how many workers are not parked, or were handed a job.
        closing: nothing more is accepted; the workers leave once the crew is idle.
    """

    SEAT: ClassVar[type[Seat]] = Seat
    #: Whether a worker that has been idle for long leaves, or rests and goes on.
    leaves_to_rest = True

    def __init__(  # noqa: PLR0917  # what a crew stands on, each thing once
        self,
        name: str,
        employer: Employer,
        rules: Rules,
        nursery: trio.Nursery,
        ledger: Ledger,
        log: logging.Logger,
    ) -> None:
        self.name = name
        self.log = log
        self.rules = rules
        self.ledger = ledger
        self.tally = ledger.tally
        self.nursery = nursery
        self.timers = Timers(nursery)
        self.gate = None if rules.rate is None else Gate(rules.rate, self.timers)
        self.home = Home(name)
        self.clock = trio.lowlevel.current_clock().current_time
        #: Makes what tells a worker when to let others have the event loop.
        self.pace = pace_here()
        self.job_timeout = rules.job_timeout
        self._watches = [
            watch.Watch(self, limit, act)
            for limit, act in ((rules.job_timeout, watch.cut), (rules.overrun_warning, watch.warn))
            if limit < math.inf
        ]
        self.clocked = bool(self._watches)
        self.keyed = rules.limit_per_key is not None
        self.family = rules.family
        self.limit = rules.limit
        #: How many workers there may be beyond those that are; fewer than 0: so many are to go.
        self.vacancies = rules.limit or 0
        self.seats: list[Seat] = []
        self.live: list[Seat] = []
        self._gaps: list[int] = []
        #: How many of the gaps are none any more.
        self._stale = 0
        self.awake = 0
        #: How many workers are on their way, beside those that the crew began with.
        self.starting = trio_util.AsyncValue(0)
        #: Those of them that a change of the number of workers is about.
        self.growing: dict[Seat, None] = {}
        #: The last such change.
        self.wish: object = None
        self.backing_off: dict[BackOff, None] = {}
        self._looked_at = 0
        #: How many jobs were accepted that are to be put into a waiting room only later.
        self.held = 0
        self.closing = False
        #: Whether all workers were told to leave.
        self._dismissed = False
        self.paused = False
        self._idle = trio_util.AsyncValue(True)  # noqa: FBT003
        self.ended = trio_util.AsyncValue(False)  # noqa: FBT003
        #: Seats whose handlers wait for this crew, and for how many jobs each.
        self.stuck: Counter[Seat] = Counter()
        #: Called whenever nothing waits, backs off or runs: to hold on to nothing of what did.
        self.forget: Callable[[], object] | None = None
        self._employer = employer
        self._crashes = rules.restart.build()
        self.outer = inside.waiting_seats()
        self._context = copy_context()
        self._present = 0
        self.shared = mailbox(self, rules.queue) if rules.shared else None

    # -- who works here

    def fresh_context(self) -> Context:
        """Return a context for a worker: that of who opened the component, whoever calls it in."""
        return self._context.copy()

    def _new_seat(self) -> Seat:
        """Return a seat at the lowest free index, with nobody on it."""
        self._dismissed = False
        index = len(self.seats)
        while self._gaps:
            # A gap at the end may be gone, or have been filled, since it was noted.
            gap = heapq.heappop(self._gaps)
            if self._is_gap(gap):
                index = gap
                break
            self._stale -= 1
        box = self.shared or mailbox(self, self.rules.queue, paused=self.paused)
        seat = self.SEAT(self, index, box)
        if index < len(self.seats):
            self.seats[index] = seat
        else:
            self.seats.append(seat)
        return seat

    async def start(self, count: int, args: Mapping[str, object]) -> None:
        """Seat ``count`` workers and wait until all are ready; one that cannot start fails all."""
        ready = trio_util.AsyncValue(0)

        def one_more() -> None:
            ready.value += 1

        for seat in [self._new_seat() for _ in range(count)]:
            self.awake += 1
            self.nursery.start_soon(self._occupy, seat, args, one_more, name=seat.name)
        await ready.wait_value(count)

    async def start_one(self, args: Mapping[str, object], role: object = None) -> Seat:
        """Seat one more worker and return its seat when it is ready, or raise why it is not.

        Args:
            args: for its ``handle_init``.
            role: what the employer wants to find on the seat.
        """
        seat = self._reserve(role)
        await self._get_ready(seat, args)
        return seat

    @trio.lowlevel.enable_ki_protection
    async def start_many(self, args: Mapping[str, object], roles: Iterable[object]) -> list[Seat]:
        """Seat a worker for each of ``roles``, all at once; return their seats when all are ready.

        If one cannot start, those that are not ready by then are given up, and this raises why;
        so with a cancellation. `give_up` takes some out: the others go on.
        """
        seats = [self._reserve(role) for role in roles]
        self.growing.update(dict.fromkeys(seats))
        failures: list[Exception] = []

        async def get_ready(seat: Seat) -> None:
            try:
                await self._get_ready(seat, args)
            except Exception as error:  # noqa: BLE001  # it is raised below, or was asked for
                if seat in self.growing:
                    nursery.cancel_scope.cancel()
                elif isinstance(error, Closed):
                    return  # it was given up, and that is all
                failures.append(error)
            finally:
                self.growing.pop(seat, None)

        async with trio.open_nursery() as nursery:
            for seat in seats:
                nursery.start_soon(get_ready, seat)
        if failures:
            raise _first(failures)
        return [seat for seat in seats if seat.opened]

    @trio.lowlevel.enable_ki_protection
    def _reserve(self, role: object) -> Seat:
        seat = self._new_seat()
        seat.role = role
        self.awake += 1
        self.starting.value += 1
        return seat

    async def _get_ready(self, seat: Seat, args: Mapping[str, object]) -> None:
        failure: Exception | None = None
        try:
            # As a value: Trio would assign to an exception on its way, and some refuse that.
            failure = await self.nursery.start(self._occupy_one, seat, args, name=seat.name)
            if failure is not None:
                raise failure
        finally:
            self.starting.value -= 1
            del failure  # who keeps the error keeps this frame

    @trio.lowlevel.enable_ki_protection
    def give_up(self, count: int) -> list[Seat]:
        """Do not start so many of those that `start_many` is about to, the last ones first."""
        seats = [self.growing.popitem()[0] for _ in range(min(count, len(self.growing)))]
        for seat in seats:
            seat.life.cancel()
        return seats

    async def _occupy_one(
        self,
        seat: Seat,
        args: Mapping[str, object],
        *,
        task_status: trio.TaskStatus[Exception | None],
    ) -> None:
        # Trio enters a task's context with each of its steps.
        trio.lowlevel.current_task().context = self.fresh_context()
        await trio.lowlevel.cancel_shielded_checkpoint()
        try:
            await self._occupy(seat, args, task_status.started)
        except Exception as error:
            if seat.opened:
                raise
            task_status.started(error)
            return
        if not seat.opened:
            message = f"{self.name} was told to end before {seat.name} was ready"
            task_status.started(Closed(message))

    @trio.lowlevel.enable_ki_protection
    async def _occupy(
        self, seat: Seat, args: Mapping[str, object], ready: Callable[[], None] | None
    ) -> None:
        """Keep a worker on the seat until it is left. This is the seat's task."""
        seat.task = trio.lowlevel.current_task()
        inside.enter(seat, self.outer)
        self._present += 1
        try:
            with seat.life:
                # If another worker has failed to start, this one does not begin to.
                await trio.lowlevel.checkpoint_if_cancelled()
                while await self._shift(seat, args, ready):
                    await trio.lowlevel.checkpoint()
        finally:
            self._vacate(seat, interruption(sys.exc_info()[1]))

    @aside.whole
    def _vacate(self, seat: Seat, why: BaseException | None) -> None:
        """Settle what a worker that has ended leaves behind.

        Args:
            why: what it was ended by, if that is no failure.
        """
        if why is not None:
            # It is about to leave the block. Those who wait in there are cancelled by that, and
            # are not told before that their jobs were cut, or abandoned.
            if self.family is not None:
                self.family.nursery.cancel_scope.cancel()
            self.nursery.cancel_scope.cancel()
        seat.cut_off(why)
        seat.give_back()
        self._gone(seat)

    @trio.lowlevel.enable_ki_protection
    async def _shift(
        self, seat: Seat, args: Mapping[str, object], ready: Callable[[], None] | None
    ) -> bool:
        """Let one worker work until it ends; return whether another is to take the seat."""
        seat.leaving = seat.dismissed
        try:
            await self._employ(seat, args, ready)
        except Exception as error:
            seat.died(error)
            if not seat.opened:
                raise
            replace = self._crashed(seat, error)
        else:
            replace = self.rules.restart.mode == "permanent"
        # What it entered in its stack may have absorbed what ended it in the middle of a job.
        seat.cut_off()
        return replace and seat.alive and not seat.dismissed

    async def _employ(
        self, seat: Seat, args: Mapping[str, object], ready: Callable[[], None] | None
    ) -> None:
        worker = self._employer.employ(seat)
        seated = False
        async with Stack() as stack:
            worker.stack = stack
            seat.seat(worker)
            await worker.handle_init(**args)
            stack.settle()
            try:
                # One that is to go takes no job with it.
                await trio.lowlevel.checkpoint_if_cancelled()
                seated = True
                self._seated(seat, ready)
                await seat.serve()
            finally:
                try:
                    if seated:
                        self.ledger.tell("worker_stopped", worker)
                finally:
                    # Also if an instrument has said that the program ends.
                    await worker.handle_stop()
        if not seated:
            await trio.lowlevel.checkpoint_if_cancelled()
            message = (
                f"{seat.name} was never ready: what its handle_init entered in its stack absorbed "
                f"what ended it; let that out of the stack"
            )
            raise RuntimeError(message)

    @trio.lowlevel.enable_ki_protection
    def _seated(self, seat: Seat, ready: Callable[[], None] | None) -> None:
        if seat.home is seat.task:
            seat.home_is(seat.task)  # what its handle_init entered is the worker's
        if not seat.opened:
            seat.opened = True
            self._enlist(seat)
            if ready is not None:
                ready()
        self.ledger.tell("worker_started", seat.worker)

    def _crashed(self, seat: Seat, error: Exception) -> bool:
        """Tell the crash's owner: the log if it is forgiven, else the block. Return the former."""
        self.ledger.tell("worker_crashed", seat.worker, error)
        what_now = self._crashes.record(error, self.clock())
        if what_now is not AfterCrash.ESCALATE:
            if self.limit is not None:  # it was a function that failed; its worker is as any other
                self.log.error("worker=%s event=function-failed", shown(seat.name), exc_info=error)
                return True
            self.log.error(
                "worker=%s event=crashed then=%s",
                shown(seat.name),
                what_now.value,
                exc_info=error,
            )
            if what_now is AfterCrash.RETIRE:
                self.retire(seat)
            return what_now is AfterCrash.REPLACE
        rule = self.rules.restart
        if not rule.max_restarts:
            remedy = "replaces such workers" if self.limit is None else "logs such failures"
            add_note(
                error,
                f"{seat.name} crashed: nobody waits for this result, so it leaves the block; "
                f"restart=Restart(max_restarts=...) {remedy} instead",
            )
            try:
                raise error
            finally:
                del error  # who keeps an error keeps this frame
        message = (
            f"{self.name}: more crashes than max_restarts={rule.max_restarts} "
            f"within {rule.within:g} s"
        )
        raise RestartLimitExceeded(message, self._crashes.counted) from error

    @trio.lowlevel.enable_ki_protection
    def _gone(self, seat: Seat) -> None:
        self.awake -= 1
        self._present -= 1
        seat.gone.set()
        self.retire(seat)
        if self.limit is not None and self.shared is not None:
            self.shared.start_all()
        self._free(seat)
        empty = not self.live and self.family is None
        if not self._present and self.limit is None and (self.closing or empty):
            self._end()
        else:
            self.check_idle()
        if self.family is not None:
            self.family.departed(seat)

    def _is_gap(self, index: int) -> bool:
        return index < len(self.seats) and self.seats[index].gone.is_set()

    def _free(self, seat: Seat) -> None:
        """Let the index of a seat that is empty be another's."""
        if self.seats[-1] is not seat:
            heapq.heappush(self._gaps, seat.index)
            return
        self.seats.pop()
        while self.seats and self.seats[-1].gone.is_set():
            self.seats.pop()
            self._stale += 1
        self._employer.crew_changed()  # a mode that goes by the number of seats: it is another
        if 2 * self._stale > len(self._gaps):
            self._gaps = sorted({gap for gap in self._gaps if self._is_gap(gap)})
            self._stale = 0

    # -- workers that run functions

    def call_in(self, item: object) -> None:
        """Take on one more worker, who begins with ``item``. There is a vacancy."""
        seat = self._new_seat()
        seat.first = item
        seat.opened = True
        self.vacancies -= 1
        self.awake += 1
        self._enlist(seat)
        start = partial(self.nursery.start_soon, name=seat.name)
        self.fresh_context().run(start, self._occupy, seat, {}, None)

    @property
    def coming_vacancies(self) -> int:
        """How many workers may be called in, when none that is parked takes a job.

        Those that still count as parked are then on their way to their rest: most leave for it.
        """
        assert self.shared is not None
        return self.vacancies + (self.shared.parked if self.leaves_to_rest else 0)

    @property
    def surplus(self) -> int:
        """How many workers are to go, each after the job in hand."""
        return max(0, -self.vacancies)

    @aside.whole
    def set_limit(self, limit: int) -> None:
        """Let so many work at once from now on."""
        assert self.limit is not None
        assert self.shared is not None
        self.vacancies += limit - self.limit
        self.limit = limit
        for seat in tuple(self.live):
            if not self.surplus:
                break
            if seat.first is not NOTHING:
                # It has begun nothing: what it was called in for waits with the others.
                self.dismiss(seat)
                seat.give_back()
            elif seat.parked:
                seat.leave()
                # One that was handed a job meanwhile runs that, and is there until it has.
                if not seat.parked:
                    self.retire(seat)
            else:
                seat.signal = True
        self.shared.start_all()

    def dismiss_surplus(self, seat: Seat) -> bool:
        """Let the worker on ``seat`` go if there are too many; tell whether it does."""
        if self.surplus:
            self.dismiss(seat)
            return True
        return False

    @aside.whole
    def dismiss(self, seat: Seat) -> None:
        """Let the worker on ``seat`` go; another is called in when there is work for it."""
        self.retire(seat)
        seat.leave()
        seat.box.start_all()

    # -- who may be sent jobs

    def retire(self, seat: Seat) -> None:
        """Send ``seat`` no more jobs; what waits for it alone goes to others, if there are any."""
        self.retire_all([seat])

    @aside.whole
    def retire_all(self, seats: Iterable[Seat]) -> None:
        """Send none of ``seats`` any more jobs; what waits for them goes to others that stay."""
        retired = [seat for seat in seats if seat.alive]
        for seat in retired:
            self._strike(seat)
        if self.limit is not None:
            for seat in retired:
                self.vacancies += 1
                seat.box.rearm()
            return
        if retired and not self.live and self.family is None:
            self._employer.close()
        for seat in retired:
            if seat.box is not self.shared:
                for item in seat.box.close():
                    self.restore(seat.box, item)

    def stop(self) -> None:
        """Close the component, because a worker says so."""
        self._employer.close()

    def exits(self, seat: Seat) -> None:
        """End the worker on ``seat`` after the job in hand, because it says so."""
        seat.leaving = seat.signal = True
        if self.rules.restart.mode != "permanent":
            self.retire(seat)

    def _enlist(self, seat: Seat) -> None:
        seat.alive = True
        bisect.insort(self.live, seat, key=_INDEX)
        self._employer.crew_changed()

    def _strike(self, seat: Seat) -> None:
        seat.alive = False
        del self.live[bisect.bisect_left(self.live, seat.index, key=_INDEX)]
        self._employer.crew_changed()

    @property
    def boxes(self) -> Iterable[Mailbox]:
        """The waiting rooms."""
        return [seat.box for seat in self.seats] if self.shared is None else [self.shared]

    @trio.lowlevel.enable_ki_protection
    def restore(self, box: Mailbox, item: object) -> None:
        """Put an item that was accepted before into ``box``, or elsewhere if that has closed."""
        if not self.live and self.limit is None:
            self.ledger.abandon(item)
            return
        if not box.open:
            self._displace(box, item)
            return
        if type(item) is Job:
            item.place = box
        box.restore(item)

    def _displace(self, box: Mailbox, item: object) -> None:
        """Put an item elsewhere, as soon as user code may run: a mode and a key may be."""
        self.held += 1
        if type(item) is Job:
            item.place = Displaced(box)
        aside.call(self._place_again, item)

    @trio.lowlevel.enable_ki_protection
    def _place_again(self, item: object) -> None:
        if type(item) is Job and item.ended:
            return  # it was taken back meanwhile
        self.held -= 1
        elsewhere: Mailbox | None = None
        try:
            if self.live:
                elsewhere = self._route_again(item)
        finally:
            if elsewhere is None or not elsewhere.open:
                self.ledger.abandon(item)
            else:
                if type(item) is Job:
                    item.place = elsewhere
                elsewhere.restore(item)
            self.check_idle()

    def _route_again(self, item: object) -> Mailbox | None:
        try:
            return self._employer.route_again(item)
        except Exception:
            # A send to a seat asks no key; its job may have none. It goes on, as jobs of an ended
            # seat do: to a live one.
            name = shown(self.live[0].name)
            self.log.exception("job=%s event=not-routable worker=%s", shown(describe(item)), name)
            return self.live[0].box

    def backs_off(self, back_off: BackOff, job: Job[Any]) -> None:  # noqa: ARG002
        """Note that a job waits for its next try."""
        self.backing_off[back_off] = None

    # -- rest, pause and end

    def watch(self) -> None:
        """Note that a worker begins to run jobs."""
        for each in self._watches:
            each.arm()

    def statistics(self) -> Statistics:
        """Return the counts of this moment."""
        running = sum(seat.busy for seat in self.seats)
        waiting = sum(box.waiting for box in self.boxes) + len(self.backing_off) + self.held
        return self.tally.statistics(running, waiting)

    def unseen(self) -> list[Exception]:
        """Return the failures that nobody has looked at."""
        return list(self.ledger.unseen.errors())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, backs off or runs."""
        if self.awake or self.backing_off or self.held:
            return False
        if self.shared is not None:
            return not len(self.shared.room)
        # Where workers may start what waits, none of them parks while something does.
        return not (self.paused or self.gate) or not self._something_waits()

    def _something_waits(self) -> bool:
        # From where something was found last: as rooms get empty, each is passed once.
        for _ in self.seats:
            if self._looked_at >= len(self.seats):
                self._looked_at = 0
            if len(self.seats[self._looked_at].box.room):
                return True
            self._looked_at += 1
        return False

    def fell_asleep(self, seat: Seat) -> None:
        """Note that the worker on ``seat`` is about to park."""
        if self.limit is not None:
            self._employer.rests(seat)
        self.awake -= 1
        if not self.awake:
            self.check_idle()

    def check_idle(self) -> None:
        """Tell those who wait for rest, if there is rest; if the crew is closing, send it home."""
        if not self.is_idle:
            return
        if self.forget is not None:
            self.forget()
        if not self._idle.value:
            self._idle.value = True
        if self.closing:
            if not self._dismissed:
                self._dismissed = True
                for seat in self.seats:
                    seat.leave()
            may_be_empty = self.limit is not None or self.family is not None
            if not self._present and may_be_empty and not self.ended.value:
                self._end()

    def refuse_own_wait(self, what: str) -> None:
        """Raise ``RuntimeError`` if one of this crew's handlers asks."""
        inside.refuse_inside(self, what)

    async def wait_idle(self) -> None:
        """Wait until nothing waits, backs off or runs."""
        await trio.lowlevel.checkpoint()
        # Whoever was waiting for rest may find that others sent work at the same moment.
        while not self.is_idle:
            self._idle.value = False
            await self._idle.wait_value(True)  # noqa: FBT003

    @trio.lowlevel.enable_ki_protection
    def pause(self) -> None:
        """Start no more jobs."""
        self.paused = True
        for box in self.boxes:
            box.pause()

    @aside.whole
    def resume(self) -> None:
        """Start jobs again."""
        self.paused = False
        for box in self.boxes:
            box.resume()
        self.check_idle()

    @aside.whole
    def close(self) -> None:
        """Let the workers go as soon as the crew is idle; a pause ends, or it never would be."""
        if not self.closing:
            self.closing = True
            for box in self.boxes:
                box.turn_away()
            if self.paused:
                self.resume()
            self.check_idle()

    @aside.whole
    def cancel(self) -> None:
        """Abandon what waits, cancel what runs, and let the workers go."""
        self._abandon_what_waits()  # before it could start: to close is to resume
        self.close()
        for seat in self.live:
            seat.alive = False
        self.live.clear()
        self._employer.crew_changed()
        for seat in self.seats:
            seat.life.cancel()

    @aside.whole
    def wind_up(self, seconds: float) -> None:
        """Abandon what waits, and give each worker so long for the job in hand, and no next."""
        self._abandon_what_waits()
        self.close()
        for seat in tuple(self.seats):
            if seat.opened:
                self.send_home(seat, seconds)
            else:
                seat.life.cancel()

    @aside.whole
    def send_home(self, seat: Seat, seconds: float) -> None:
        """Send ``seat`` no more jobs, and cancel the one in hand if it takes so long."""
        self.retire(seat)
        # The scope keeps the time, whoever waits for the seat, and whether somebody does.
        seat.life.deadline = min(seat.life.deadline, self.clock() + seconds)
        seat.leave()

    @trio.lowlevel.enable_ki_protection
    def change(self, restart: Restart) -> None:
        """Go by another rule from the next crash on."""
        self.rules = attrs.evolve(self.rules, restart=restart)
        self._crashes = restart.build()

    def _abandon_what_waits(self) -> None:
        for box in self.boxes:
            for item in box.close():
                self.ledger.abandon(item)
        for back_off in list(self.backing_off):
            back_off.end()

    @aside.whole
    def _end(self) -> None:
        """Every worker has gone."""
        self.closing = True
        self._abandon_what_waits()
        self.timers.stop()
        self._idle.value = True
        self.ended.value = True
