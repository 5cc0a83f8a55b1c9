"""The crew of a batcher: its windows, and the batches on their way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from poolder_trio.kernel import aside
from poolder_trio.kernel.crew import Crew
from poolder_trio.kernel.mailbox import OnItsWay
from poolder_trio.kernel.parcel import Asked, InWindow, Parcel
from poolder_trio.kernel.spell import Spell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolder_trio.kernel.accounts import Statistics
    from poolder_trio.kernel.backoff import BackOff
    from poolder_trio.kernel.batch_ledger import BatchLedger
    from poolder_trio.kernel.intake import Entry, Intake
    from poolder_trio.kernel.job import Job
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.policies.window import Batch, Windows

_NO_LINE: list[object] = []


class Batches(Crew):
    """A crew whose jobs are batches, and whose accounts are of items.

    Attributes:
        windows: the items that are no batch yet.
        sent: the batches that have not ended, oldest first.
        sealed: how many items are in those.
        was_asked: whether there ever was an item with a caller.
        line, bound: while ``len(line) < bound``, appending to ``line`` is all there is to a push.
    """

    ledger: BatchLedger
    leaves_to_rest = False

    def prepare(
        self,
        windows: Windows[object],
        intake: Intake,
        seal: Callable[[Batch[object]], Parcel],
        *,
        quick: bool,
    ) -> None:
        """Get ready to take items.

        Args:
            windows: where they are collected.
            intake: how they come in.
            seal: makes a parcel of a batch.
            quick: whether nothing is to be looked at in an item: no key and no weight.
        """
        self.windows = windows
        self.intake = intake
        self.in_window = InWindow(self)
        self.sent: dict[Job[Any], Parcel] = {}
        #: Those of them that are in a handler, and how many items are in these.
        self._begun: set[Job[Any]] = set()
        self._running = 0
        self.sealed = 0
        self.was_asked = False
        self.draining = False
        self.spell = Spell(self)
        self._seal = seal
        self._quick = quick
        self._timer_is_set = False
        self.ledger.crew = self
        self.line, self.bound = _NO_LINE, 0

    @property
    def room(self) -> Mailbox:
        """Where batches wait for a worker."""
        assert self.shared is not None
        return self.shared

    # -- the counts

    @property
    def running(self) -> int:
        """How many items are in a handler."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many items are accepted and not in a handler: those that back off, too."""
        return len(self.windows) + self.sealed - self.running

    @property
    def queued(self) -> int:
        """How many items the bound is about: a batch that was handed to a free worker is out."""
        return self.waiting - self._handed

    @property
    def _handed(self) -> int:
        count, left = 0, self.room.handed
        # They are among the first, behind those that run or back off.
        each = iter(self.sent.items())
        while left:
            job, parcel = next(each)
            if type(job.place) is OnItsWay:
                left -= 1
                count += len(parcel)
        return count

    def statistics(self) -> Statistics:
        """Return the counts of this moment, in items."""
        return self.tally.statistics(self.running, self.waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, backs off or runs."""
        return super().is_idle and not len(self.windows)

    # -- in

    @trio.lowlevel.enable_ki_protection
    def add(self, entries: Sequence[Entry]) -> None:
        """Put items into their windows, and send off what is full by that."""
        now = self.clock()
        for entry in entries:
            if type(entry.item) is Asked:
                self.was_asked = True
            self.send_off(
                self.windows.add(
                    entry.item, now, key=entry.key, weight=entry.weight, front=entry.front
                )
            )
        self._hurry()
        self._set_timer()
        self.rearm()

    @aside.whole
    def _hurry(self) -> None:
        """While the block is left, let no item wait for others if a worker is free for it.

        Only handlers push then, as a rule, so items do not go one by one while all are busy.
        """
        if self.draining and (self.room.free or not self.sent):
            self.send_off(self.windows.flush("close"))

    def fell_asleep(self, seat: Seat) -> None:
        """Note that a worker is about to park: its batch may back off while items wait for it."""
        super().fell_asleep(seat)
        if self.draining and len(self.windows):
            # It does not receive yet, so that nothing can be handed to it at this moment.
            self.timers.at(self.clock(), self._hurry)

    def rearm(self) -> None:
        """Choose how the next items come in.

        Items in a handler are taken as waiting here: if their batches back off they will be,
        and nobody looks at the bound when that happens.
        """
        line = self.windows.line if self._quick and not self.draining else None
        if line is None or not self.intake.accepting or self.intake.crowded:
            self.line, self.bound = _NO_LINE, 0
            return
        free = self.intake.max - len(line) - self.sealed
        self.line, self.bound = line, int(min(self.windows.limit - 1, len(line) + free))

    def _set_timer(self) -> None:
        """See to it that the oldest window is looked at when it is due."""
        due = self.windows.next_due()
        if due < math.inf and not self._timer_is_set:
            self._timer_is_set = True
            self.timers.at(due, self._time_is_up)

    @aside.whole
    def _time_is_up(self) -> None:
        self._timer_is_set = False
        self.send_off(self.windows.expire(self.clock()))
        self._set_timer()
        self.rearm()

    # -- on

    def send_off(self, batches: Sequence[Batch[object]]) -> None:
        """Let ``batches`` be handled as soon as there is a worker for them."""
        for batch in batches:
            parcel = self._seal(batch)
            self.sealed += len(parcel)
            self.sent[parcel.job] = parcel
            self.room.put_nowait(parcel.job)
            self.ledger.tell("batch_flushed", parcel)
            self.ledger.tell("job_submitted", parcel.job)

    @aside.whole
    def flush(self) -> list[Job[Any]]:
        """Send off all that waits; return the batches that wait then."""
        self.send_off(self.windows.flush("flush"))
        self.rearm()
        return [job for job in self.sent if job.status != "running"]

    def relieve(self) -> None:
        """Let the oldest window go if a worker is free, because there is no room for it to grow."""
        if not self.room.waiting:
            self.send_off(self.windows.flush_oldest())
            self.rearm()

    def take_oldest(self) -> object | None:
        """Take the entry that came first of those in the queue that were not tried before."""
        for job, parcel in self.sent.items():
            if job.place is self.room and not job.attempt:
                return parcel.remove_at(parcel.oldest)
        if not len(self.windows):
            return None
        entry = self.windows.pop_oldest()
        self.rearm()
        return entry

    @aside.whole
    def begin(self, parcel: Parcel) -> None:
        """Note that a batch is in a handler."""
        if parcel.job not in self._begun:
            self._begun.add(parcel.job)
            self._running += len(parcel)
        self.spell.interrupt()
        self.intake.admit()

    @aside.whole
    def keep_only(self, parcel: Parcel, wanted: tuple[object, ...]) -> None:
        """Let the other items of a batch in hand be done, without results."""
        count = len(parcel)
        done = parcel.keep_only(wanted)
        self.sealed -= count - len(parcel)
        self._running -= count - len(parcel)
        self.ledger.done(count - len(parcel), done)

    def backs_off(self, back_off: BackOff, job: Job[Any]) -> None:
        """Note that a batch is out of its handler until its next try."""
        super().backs_off(back_off, job)
        self._is_out(self.sent[job])

    def _is_out(self, parcel: Parcel) -> None:
        if parcel.job in self._begun:
            self._begun.remove(parcel.job)
            self._running -= len(parcel)

    # -- out

    @aside.whole
    def pop_at(self, index: int, key: object) -> object:
        """Take an item out of a window, and enter it as cancelled."""
        entry = self.windows.pop_at(index, key=key)
        self.ended_waiting(entry, "waited")
        return entry.message if type(entry) is Asked else entry

    def ended_waiting(self, entry: object, how: str) -> None:
        """Enter as cancelled what was taken out while it waited."""
        self.tally.cancelled += 1
        if type(entry) is Asked:
            entry.cancel_as(how)
        self._made_room()
        self.check_idle()

    @aside.whole
    def ended_batch(self, parcel: Parcel) -> None:
        """Note that a batch has ended, in whatever way; its items are in the accounts."""
        self.sealed -= len(parcel)
        del self.sent[parcel.job]
        self._is_out(parcel)
        # A frame of its handler may know it, and is known to an error, which its jobs know.
        del parcel.job
        parcel.asked = None
        self.spell.interrupt()
        if self.draining:
            # Its worker is free next, if it had one.
            self.send_off(self.windows.flush("close"))
        self._made_room()

    def _made_room(self) -> None:
        self.intake.admit()
        self.rearm()

    # -- the end

    @aside.whole
    def drain(self) -> None:
        """Let no item wait for others any more."""
        self.draining = True
        self.send_off(self.windows.flush("close"))
        self.rearm()

    @aside.whole
    def close(self) -> None:
        """Let the workers go as soon as the crew is idle."""
        self.intake.shut()
        self.drain()
        super().close()

    @aside.whole
    def cancel(self) -> None:
        """Abandon what waits, cancel what runs, and let the workers go."""
        self._abandon_windows()
        super().cancel()

    def _abandon_windows(self) -> None:
        self.intake.shut()
        for batch in self.windows.flush("close"):
            for entry in batch:
                self.ledger.abandon(entry)
        self.rearm()

    @aside.whole
    def _end(self) -> None:
        self._abandon_windows()
        super()._end()
