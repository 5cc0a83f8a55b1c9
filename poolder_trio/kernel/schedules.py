"""The scheduled jobs of one opening of a component: when they fire, and what becomes of firings."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from poolder_trio.kernel import aside, inside, interruptible
from poolder_trio.kernel.agenda import WRONG_CLOCK, Agenda
from poolder_trio.kernel.contexts import Snapshots
from poolder_trio.kernel.courses import Beats, Dates, date_of, later, next_date
from poolder_trio.kernel.job import record
from poolder_trio.kernel.notes import add_note, shown
from poolder_trio.kernel.scheduled import Pending, Scheduled
from poolder_trio.kernel.terms import SENT, Terms
from poolder_trio.policies.beat import beat
from poolder_trio.policies.overdue import Overdue
from poolder_trio.policies.triggers import Every, follows_the_wall, interval, make_trigger, seeded
from poolder_trio.verdicts import Exit, Reschedule, Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextvars import Context
    from datetime import datetime, tzinfo
    from typing import Any, NoReturn

    from poolder_trio.abc import Trigger
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Job, Place
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.terms import Form
    from poolder_trio.kernel.wall import WallClock
    from poolder_trio.policies.overdue import Course

    # As `Schedules._place` takes it.
    _Function = Callable[..., Awaitable[object]]
    _When = tuple[float | None, float]
    _Placing = tuple[str, _Function | None, tuple[object, ...], Trigger, _When]


@attrs.frozen(kw_only=True)
class Rules:
    """What a scheduler is told once: see the options of `Scheduler`."""

    overlap: str = "queue"
    misfire_grace: float = math.inf
    coalesce: str = "latest"
    timezone: str | tzinfo = "UTC"
    #: Where triggers are written, for errors.
    where: str = "Scheduler"


class NeverFires(ValueError):
    """A trigger has no date to come."""


class Schedules:
    """Fires jobs when they are due.

    Intervals that count from when they were scheduled go by Trio's clock, and do not notice when
    the wall clock is set; whatever speaks of dates goes by the wall clock.

    Args:
        crew: who runs them, and keeps the accounts.
        rules: what they have in common.
        wall: the wall clock.
        boxes: returns the mailboxes that are to get a run of a job each.
        find: returns the function, and its arguments, that a new name stands for.
        says_stop: called when a job says ``Stop``, after all have been unscheduled.
    """

    def __init__(  # noqa: PLR0917  # what it stands on, each thing once
        self,
        crew: Crew,
        rules: Rules,
        wall: WallClock,
        boxes: Callable[[str], list[Mailbox]],
        find: Callable[[str], tuple[Callable[..., Awaitable[object]], tuple[object, ...]]],
        says_stop: Callable[[], None],
    ) -> None:
        self.crew = crew
        self.rules = rules
        self.wall = wall
        self._boxes = boxes
        self._find = find
        self._says_stop = says_stop
        self._steady: Agenda[Scheduled] = Agenda(
            crew.timers, trio.current_time, float, partial(self._ring, self._next_beat)
        )
        self._by_date: Agenda[Scheduled] = Agenda(
            crew.timers,
            self._time,
            wall.trusted,
            partial(self._ring, self._next_date),
            self._set_back,
        )
        self.table: dict[str, Scheduled] = {}
        self.open = True
        self.fired = self.skipped = self.missed = 0
        self._overdue: dict[Scheduled, Overdue] = {}
        #: Those that were removed while something of them runs.
        self._removed: dict[str, Scheduled] = {}
        self._contexts = Snapshots()
        self._terms = SENT

    # -- what is scheduled

    def make(self, name: str, trigger: object) -> Trigger:
        """Return the trigger that a value stands for; errors name the job."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a job's name must be a str, got {name!r} ({self.rules.where})")
        if type(trigger) is float and 0.0 < trigger < math.inf:
            return interval(trigger)  # what errors would be told costs more than this
        return make_trigger(trigger, self.rules.timezone, f"jobs[{name!r}]", self.rules.where)

    def schedule(
        self,
        name: str,
        trigger: Trigger,
        fn: Callable[..., Awaitable[object]] | None = None,
        args: tuple[object, ...] = (),
    ) -> None:
        """Schedule a new job, or change one: from now on it fires as ``trigger`` says.

        Without ``fn`` a job that there is keeps what it runs. What runs of it goes on.

        Raises:
            ValueError: it would never fire.
            LookupError, TypeError: there is nothing to run under this name.
        """
        if fn is None and name not in self.table:
            fn, args = self._find(name)
        trigger = seeded(trigger, name)
        self._place(name, fn, args, trigger, self._first(name, trigger))

    def declare(self, name: str, trigger: Trigger) -> None:
        """Schedule a job that was declared: one whose last date has passed is missed."""
        try:
            self.schedule(name, trigger)
        except NeverFires:
            self._tell_missed(name, self.wall.now(), 1, "missed")

    def replace_all(self, triggers: Mapping[str, Trigger]) -> None:
        """Schedule these jobs and no others: all of them, or, if one is wrong, none."""
        chosen: list[_Placing] = []
        for name, given in triggers.items():
            fn, args = (None, ()) if name in self.table else self._find(name)
            trigger = seeded(given, name)
            chosen.append((name, fn, args, trigger, self._first(name, trigger)))
        # Triggers are users' code, which is over: from here on all change together.
        self._place_only(chosen)

    @aside.whole
    def _place_only(self, chosen: Sequence[_Placing]) -> None:
        names = {name for name, *_ in chosen}
        self.unschedule([name for name in self.table if name not in names])
        for each in chosen:
            self._place(*each)

    @aside.whole
    def unschedule(self, names: list[str]) -> None:
        """Let these jobs fire no more, and cancel what runs of them, but for who asks."""
        for name in names:
            entry = self.table[name]
            self._forget(entry)
            for job in entry.runs:
                if not inside.on(job.place):
                    job.cancel()

    def next_fire(self, name: str) -> datetime | None:
        """Return when a job fires next, in UTC; ``None``: not before year 10000, or never again.

        Raises:
            LookupError: there is no such job.
        """
        entry = self.find(name)
        if not entry.ticket:
            return None
        if entry.anchor is None:
            return date_of(entry.due)
        try:
            return self.wall.now() + timedelta(seconds=entry.due - trio.current_time())
        except OverflowError:
            return None

    def find(self, name: str) -> Scheduled:
        """Return a job by its name; ``LookupError`` if there is none."""
        entry = self.table.get(name)
        if entry is None:
            known = ", ".join(map(repr, self.table)) or "none"
            raise LookupError(f"{self.rules.where} has no job {name!r}; it has: {known}")
        return entry

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Fire no more by the clock. What has fired goes on."""
        self.open = False
        self._steady.stop()
        self._by_date.stop()
        for entry in tuple(self._overdue):
            self._give_up(entry)

    @trio.lowlevel.enable_ki_protection
    def _place(
        self,
        name: str,
        fn: Callable[..., Awaitable[object]] | None,
        args: tuple[object, ...],
        trigger: Trigger,
        when: tuple[float | None, float],
    ) -> None:
        """Put a job on its agenda, which is new or was there before."""
        if not self.open:
            return
        if name in self.table or (self._removed and name in self._removed):
            entry = self._again(name, fn, args)
        else:
            assert fn is not None
            entry = self.table[name] = Scheduled(self, name, fn, args, self._contexts.take())
        entry.trigger = trigger
        anchor, due = when
        entry.anchor, entry.due = anchor, due
        (self._by_date if anchor is None else self._steady).put(entry, due)

    def _again(
        self, name: str, fn: Callable[..., Awaitable[object]] | None, args: tuple[object, ...]
    ) -> Scheduled:
        """Return a job that there is, or one that was removed and of which something still runs."""
        if name in self._removed:
            self.table[name] = self._removed.pop(name)
        entry = self.table[name]
        if entry.ticket:
            self._agenda(entry).drop(entry)
        self._give_up(entry)
        if fn is not None:
            entry.runs_from_now_on(fn, args, self._contexts.take())
        return entry

    def terms(self, context: Context, form: Form) -> Terms:
        """Return the terms of the runs of a job that was scheduled in ``context``."""
        if context is not self._terms.context or form is not self._terms.form:
            self._terms = Terms(context=context, form=form)
        return self._terms

    @aside.whole
    def _forget(self, entry: Scheduled) -> None:
        self._agenda(entry).drop(entry)
        self._give_up(entry)
        if entry.pending is not None:
            entry.pending.cancel()
        if self.table.get(entry.name) is entry:
            del self.table[entry.name]
            if entry.runs:
                self._removed[entry.name] = entry
        context = entry.let_go()
        if context is self._terms.context:
            self._terms = SENT
        if context is self._contexts.last:
            self._contexts.forget()

    def _agenda(self, entry: Scheduled) -> Agenda[Scheduled]:
        return self._by_date if entry.anchor is None else self._steady

    # -- when

    def _first(self, name: str, trigger: Trigger) -> tuple[float | None, float]:
        """Return from when a trigger counts, if it does, and when it fires first."""
        if isinstance(trigger, Every) and trigger.start is None:
            anchor = self.crew.clock()
            # Most have no jitter, and to ask what the first beat is costs more than to say it.
            first = beat(trigger, anchor, anchor) if trigger.jitter else anchor + trigger.seconds
            return anchor, first
        now = self.wall.now()
        date = interruptible.call(trigger.next, now)
        if date is None:
            raise NeverFires(
                f"jobs[{name!r}] must have a date to come, got {trigger!r} at {now} "
                f"({self.rules.where})"
            )
        return None, later(date, now.timestamp(), trigger)

    def _next_beat(self, entry: Scheduled, due: float) -> float:
        # On this agenda are intervals that count from their anchor, and nothing else.
        return beat(entry.trigger, entry.anchor, due)  # type: ignore[arg-type]  # as it says

    def _next_date(self, entry: Scheduled, due: float) -> float:
        return next_date(entry.trigger, due)

    def _time(self) -> float:
        return self.wall.now().timestamp()

    def _ring(
        self,
        step: Callable[[Scheduled, float], float],
        entry: Scheduled,
        due: float,
        now: float,
    ) -> float:
        """Fire a job that is due, or find it missed; return when it is due next."""
        try:
            if self._overdue and entry in self._overdue:
                following = self._catch_up(entry, self._overdue[entry], now)
                if following == math.inf and not entry.runs:
                    self._forget(entry)
                return following
            entry.due = following = step(entry, due)
            if following <= now:
                following = self._begin(entry, due, now)
            elif now - due <= self.rules.misfire_grace:
                self._fire(entry, due)
            else:
                self._miss(entry, due, 1)
        except Exception as error:  # noqa: BLE001  # a trigger's or a dispatch's; it leaves the block
            self._broke(entry, error)
            return math.inf
        if following == math.inf and not entry.runs:
            self._forget(entry)
        return following

    def _begin(self, entry: Scheduled, due: float, now: float) -> float:
        """Begin to catch up with firings that are overdue together, of which ``due`` is the first.

        They are met a bit at a time, with others' firings in between: there may be millions.
        """
        overdue = Overdue(self.rules.misfire_grace, self.rules.coalesce, now, due)
        self._overdue[entry] = overdue
        self._run_at_once(entry, overdue, overdue.meet(due))
        return now

    def _catch_up(self, entry: Scheduled, overdue: Overdue, now: float) -> float:
        """Take in some more firings that are overdue; return when to go on."""
        course = self._course(entry)
        more, at_once = overdue.go_on(course)
        if more:
            self._run_at_once(entry, overdue, at_once)
            return now
        last = overdue.end(course)
        del self._overdue[entry]
        entry.due = following = overdue.following
        if last is not None:
            if self._gives_way(entry):
                overdue.refuse(last)
            else:
                self._fire(entry, last)
        self._tell_overdue(entry, overdue)
        return following

    def _course(self, entry: Scheduled) -> Course:
        if entry.anchor is None:
            return Dates(entry.trigger)
        return Beats(entry.trigger, entry.anchor)  # type: ignore[arg-type]  # see `_next_beat`

    def _run_at_once(self, entry: Scheduled, overdue: Overdue, due: float | None) -> None:
        if due is None:
            return
        if self._gives_way(entry):
            overdue.refuse(due)
        else:
            self._fire(entry, due)

    def _tell_overdue(self, entry: Scheduled, overdue: Overdue) -> None:
        """Count those that do not run, and say so: in one line, if there is one reason."""
        missed, since = overdue.missed, overdue.since
        if overdue.refused and self.rules.overlap == "skip":
            skipped_since = self._told(entry, overdue.refused_since)
            self._tell_missed(entry.name, skipped_since, overdue.refused, "skipped")
        elif overdue.refused:
            since = min(since, overdue.refused_since) if missed else overdue.refused_since
            missed += overdue.refused
        if missed:
            self._miss(entry, since, missed)

    def _give_up(self, entry: Scheduled) -> None:
        """Catch up no more: what was met, and has not run, is missed."""
        overdue = self._overdue.pop(entry, None)
        if overdue is not None:
            overdue.give_up()
            self._tell_overdue(entry, overdue)

    def _gives_way(self, entry: Scheduled) -> bool:
        """Whether a firing has no effect, because of the runs that there are."""
        if not entry.runs or self.rules.overlap == "allow":
            return False
        return self.rules.overlap == "skip" or entry.pending is not None

    def _set_back(self, now: float, behind: float) -> None:
        """Look again when jobs are due, because the wall clock was set back.

        Dates that come a second time are not kept a second time, as with Vixie cron, unless the
        clock was wrong; what follows the clock is not to wait until it has caught up.
        """
        for entry in tuple(self.table.values()):
            if entry.anchor is not None or not entry.ticket:
                continue
            again = behind >= WRONG_CLOCK or follows_the_wall(entry.trigger)
            overdue = self._overdue.get(entry)
            if overdue is not None:
                if again:
                    overdue.cut(now)
                self._by_date.put(entry, now)  # to go on at once, not when it is as late again
            elif again:
                self._move(entry, now)

    def _move(self, entry: Scheduled, now: float) -> None:
        try:
            due = self._next_date(entry, now)
        except Exception as error:  # noqa: BLE001  # as in `_ring`
            self._broke(entry, error)
            return
        if due < entry.due:
            entry.due = due
            self._by_date.put(entry, due)

    def _broke(self, entry: Scheduled, error: Exception) -> None:
        """Let what a trigger or a dispatch of the user's raised leave the block."""
        self._forget(entry)
        add_note(error, f"from the firing of {entry.name!r} in {self.rules.where}")
        self.crew.nursery.start_soon(_raise, error)

    # -- what becomes of a firing

    @aside.whole
    def fire(self, entry: Scheduled) -> None:
        """Fire a job now; when it fires next stays as it is."""
        self._fire(entry, trio.current_time() if entry.anchor is not None else self._time())

    def _fire(self, entry: Scheduled, due: float) -> None:
        if entry.runs and self.rules.overlap != "allow":
            if self.rules.overlap == "skip":
                self._tell_missed(entry.name, self._told(entry, due), 1, "skipped")
                return
            if entry.pending is not None:
                self._miss(entry, due, 1)
                return
        self.fired += 1
        if self.crew.ledger.instruments is not None:
            self.crew.ledger.tell("schedule_fired", entry.name, self._told(entry, due))
        if not entry.runs or self.rules.overlap == "allow":
            self._start(entry)
            return
        entry.pending = self._run(entry, Pending(self, entry))
        self.crew.held += 1
        if self.rules.overlap == "replace":
            for job in entry.runs:
                job.cancel()

    def _run(self, entry: Scheduled, place: Place) -> Job[Any]:
        """Return the record of a run."""
        task = entry.task
        run = record(task, place, task.terms, task.given)
        if self.crew.ledger.instruments is not None:
            self.crew.ledger.tell("job_submitted", run)
        return run

    def _start(self, entry: Scheduled, pending: Job[Any] | None = None) -> None:
        boxes = self._boxes(entry.name)
        if not boxes:  # those who could run it are gone
            self.crew.ledger.abandon(pending or entry.name)
        for box in boxes:
            run, pending = pending or self._run(entry, box), None
            entry.runs = (*entry.runs, run)
            run.belongs_to(entry)
            self.crew.restore(box, run)

    def all_ended(self, entry: Scheduled) -> None:
        """No run of a job is on its way: one that waits may start."""
        if entry.pending is not None:
            pending, entry.pending = entry.pending, None
            self.crew.held -= 1
            self._start(entry, pending)
        elif self.table.get(entry.name) is not entry:
            if self._removed.get(entry.name) is entry:
                del self._removed[entry.name]
        elif self.open and not entry.ticket:
            self._forget(entry)

    def _miss(self, entry: Scheduled, since: float, count: int) -> None:
        self._tell_missed(entry.name, self._told(entry, since), count, "missed")

    def _tell_missed(self, name: str, since: datetime, count: int, why: str) -> None:
        """Count firings that do not run, and say so."""
        if why == "missed":
            self.missed += count
        else:
            self.skipped += count
        self.crew.log.warning(
            "component=%s job=%s %s=%d since=%s",
            shown(self.crew.name),
            shown(name),
            why,
            count,
            since.isoformat(),
        )
        self.crew.ledger.tell("schedule_missed", name, since, count, why)

    def _told(self, entry: Scheduled, due: float) -> datetime:
        """Return when a firing was due, for others to read."""
        if entry.anchor is None:
            return date_of(due)
        return self.wall.now() + timedelta(seconds=due - trio.current_time())

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many firings led to a run, were skipped, and were missed."""
        return self.fired, self.skipped, self.missed

    # -- what jobs say

    def obey(self, name: str, reply: object) -> object:
        """Do what a job's return value asks for, and return the reply itself."""
        if isinstance(reply, Exit):
            if name in self.table:
                self._forget(self.table[name])
            return reply.reply
        if isinstance(reply, Stop):
            self.stop()
            for entry in tuple(self.table.values()):
                self._forget(entry)
            self._says_stop()
            return reply.reply
        if isinstance(reply, Reschedule):
            other = name if reply.name is None else reply.name
            trigger = self.make(other, reply.trigger)
            if other != name or other in self.table:
                self.schedule(other, trigger)
            return None
        return reply  # Emit: where there are callbacks, it means something


async def _raise(error: Exception) -> NoReturn:
    raise error
