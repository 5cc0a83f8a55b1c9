"""A waiting room in front of a memory channel on which workers park."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, cast

import trio

from poolder_trio.errors import QueueFull, TooManyRequests
from poolder_trio.kernel import aside
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.parking import InLine, Stacked
from poolder_trio.kernel.senders import Senders, terms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from typing import Any

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.job import Status
    from poolder_trio.kernel.parking import Parking
    from poolder_trio.kernel.senders import Parcel
    from poolder_trio.kernel.terms import Terms
    from poolder_trio.policies.queues import Queue


_NOTHING: deque[object] = deque()


class _NoBox:
    """Stands where a `Mailbox` is that nothing may be put into by hand."""

    __slots__ = ()

    line: Final = _NOTHING
    bound: Final = -1


#: CPython compares integers of one digit faster; beyond it, items take the longer way in.
_SMALL = 2**30 - 1


def _take_nothing() -> object:
    raise IndexError


class OnItsWay:
    """Where a job is that was handed over and not received yet."""

    __slots__ = ("box",)

    status: ClassVar[Status] = "waiting"

    def __init__(self, box: Mailbox) -> None:
        self.box = box

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the job; its worker will find it ended."""
        key = job.terms.key
        self.box.handed -= 1
        self.box.let_look(job)
        self.box.crew.ledger.cancel(job, "waited")
        self.box.give_slot_back()
        self.box.done(key)
        return True


class Mailbox:
    """Where the jobs of one worker wait, or of all workers in mode ``available``.

    A job for a parked worker is handed over through the channel; others wait in the room, from
    which workers take them back to back. Two attributes hold what most jobs need, and are set
    anew by `rearm` whenever something changes that they must look after:

    - while ``len(line) < bound``, appending to ``line`` is all there is to putting a job in;
    - calling ``take`` is all there is to taking one out; ``IndexError``: nothing to start.
    """

    __slots__ = (
        "_on_its_way",
        "_parking",
        "_senders",
        "answering",
        "bound",
        "crew",
        "handed",
        "kept",
        "line",
        "open",
        "parked",
        "paused",
        "room",
        "take",
    )

    status: ClassVar[Status] = "waiting"

    def __init__(self, crew: Crew, queue: Queue, *, paused: bool = False) -> None:
        self.crew = crew
        self.room = queue.build(crew.rules.limit_per_key)
        self._parking: Parking = Stacked() if crew.rules.newest_first else InLine()
        self._senders = Senders(queue.before(self.room), self.rearm)
        self.open = True
        self.paused = paused
        #: The class of who takes from here, if it is a group's and only answers calls.
        self.answering: type | None = None
        #: How many workers wait at the channel.
        self.parked = 0
        #: How many items were handed over that their workers have not received yet.
        self.handed = 0
        self._on_its_way = OnItsWay(self)
        #: Where workers wait that were handed something and keep it during a pause: by the job;
        #: by the seat if it has no record.
        self.kept: dict[object, trio.CancelScope] = {}
        self.rearm()

    def rearm(self) -> None:
        """Choose how the next items go in and out."""
        line = self.room.line
        plain = line is not None and not self._senders and self.crew.gate is None and self.open
        self.line: deque[object] = line if plain and line is not None else _NOTHING
        self.bound = -1
        if plain and (self.paused or not self.free):
            self.bound = int(min(self.room.max, _SMALL)) - self.room.reserved
        self.take: Callable[[], object]
        if self.paused:
            self.take = _take_nothing
        else:
            self.take = self.line.popleft if plain else self._take

    @property
    def box(self) -> Mailbox:
        """This one: what waits here is served from here."""
        return self

    @property
    def free(self) -> bool:
        """Whether a worker is there for the next item: parked, or to be called in."""
        return bool(self.parked or (self.crew.vacancies > 0 and self.open))

    @property
    def waiting(self) -> int:
        """How many items are in here that no worker has begun."""
        return len(self.room) + self.handed

    def receiver(self) -> trio.MemoryReceiveChannel[object]:
        """Return an end of a channel for one worker to park on, and to be closed by it alone."""
        return self._parking.receiver()

    @trio.lowlevel.enable_ki_protection
    def put_nowait(self, item: object) -> None:
        """Hand ``item`` over, or let it wait.

        Raises:
            QueueFull: there is no room, and the rule is to wait for it.
            TooManyRequests: there is no room, and the rule is to refuse.
        """
        if len(self.line) < self.bound:
            self.line.append(item)
            return
        room = self.room
        terms = terms_of(item)
        if (
            not room.ready
            and self._may_hand_over()
            and room.may_begin(terms.key)
            and self._may_start()
            and self._starts(item)
        ):
            room.begin(terms.key)
            return
        if self._senders:
            raise QueueFull(self._full())
        self._let_wait(item, terms)

    def _let_wait(self, item: object, terms: Terms) -> None:
        """Put ``item`` into the room; raise as `put_nowait` does."""
        room = self.room
        dropped = room.put(item, trio.current_time(), key=terms.key, priority=terms.priority)
        refused = bool(dropped) and dropped[-1] is item
        if refused and room.overflow == "wait":
            raise QueueFull(self._full())
        for other in dropped:
            self.crew.ledger.drop(other, room.overflow, len(room))
        if refused and room.overflow == "reject":
            raise TooManyRequests(room.overflow, waited=0.0, waiting=len(room))

    @aside.whole
    def put_many_nowait(self, items: Sequence[object]) -> None:
        """Put ``items`` in, in order, with none between: room for the first is room for all.

        Raises:
            QueueFull, TooManyRequests: as `put_nowait` does for the first; then none is in here.
        """
        self.put_nowait(items[0])
        beyond_the_bound = self.room.overflow in ("wait", "reject")
        for count, item in enumerate(itertools.islice(items, 1, None), 1):
            if not beyond_the_bound:
                self.put_nowait(item)
            elif self.bound < 0:
                self.restore(item)
            else:
                # No worker is free and nothing is to be looked after: the others just wait.
                self.line.extend(itertools.islice(items, count, None))
                return

    def _has_room(self, *, might_start: bool = True) -> bool:
        """Tell whether there is room for one more, which might start as far as its key goes."""
        if might_start and self.free and not self.paused and not self.room.ready:
            return self._may_hand_over()
        return len(self.room) + self.room.reserved < self.room.max

    def require_room(self) -> None:
        """Raise `QueueFull` unless there is room for one more."""
        if self._senders or not self._has_room():
            raise QueueFull(self._full())

    def _full(self) -> str:
        return f"{len(self.room)} jobs wait already: await the send, or try again later"

    @trio.lowlevel.enable_ki_protection
    def restore(self, item: object) -> None:
        """Take in an item that was accepted before, whatever the bound."""
        room = self.room
        terms = terms_of(item)
        # Where starts wait for their slot, workers are parked while others wait before this one.
        may_pass = not room.ready and room.may_begin(terms.key)
        if may_pass and self._may_start() and self._starts(item):
            room.begin(terms.key)
        else:
            room.restore(item, trio.current_time(), key=terms.key, priority=terms.priority)

    async def wait_for_room(self, parcels: list[Parcel]) -> bool:
        """Wait until the first parcel fits in here, then send them all off.

        Returns ``False``, with nothing sent, if the mailbox closes first.
        """
        return await self._senders.park(parcels)

    def _may_hand_over(self) -> bool:
        """Tell whether a newcomer may go to a free worker at once.

        Jobs that back off have places here: where they take all of them, a newcomer has to wait,
        or failing jobs would get around the bound by backing off.
        """
        reserved = self.room.reserved
        return not reserved or reserved < self.room.max or self.crew.rules.bounded

    def _may_start(self, *, waited: bool = False) -> bool:
        if not self.free or self.paused:
            return False
        if self.crew.gate is None:
            return True
        self.crew.home.require()
        return self.crew.gate.enter(self, waited=waited)

    def _starts(self, item: object) -> bool:
        """Hand an item over that may start; if nobody is there for it, its slot is another's."""
        if self._hand(item):
            return True
        self.give_slot_back()
        return False

    def give_slot_back(self) -> None:
        """Let another have the slot of an item that was handed over and did not begin."""
        if self.crew.gate is not None:
            self.crew.gate.give_back()

    def _hand(self, item: object) -> bool:
        self.crew.home.require()
        if self._parking.hand(item):
            self.parked -= 1
            self.crew.awake += 1
        elif self.crew.limit is not None and self.crew.coming_vacancies > 0 and self.open:
            self.crew.call_in(item)
        else:
            return False
        if type(item) is Job:
            item.place = self._on_its_way
        self.handed += 1
        if not self.free:
            self.rearm()
        return True

    def _take(self) -> object:
        gate = self.crew.gate
        if not self._has_next() or (gate is not None and not gate.enter(self, waited=True)):
            raise IndexError
        item = self._next()
        self.admit()
        return item

    def _has_next(self) -> bool:
        if self.room.ready:
            return True
        # What waits in the room, if anything does, waits for its keys, and holds up no other.
        return bool(self._senders) and self._senders.ready and self._may_hand_over()

    def _next(self) -> object:
        """Return the next item to be started; there is one."""
        if self.room.ready:
            return self.room.pop()
        # It goes from its sender to the worker.
        first, *others = self._senders.wake()
        self._send_off(others)
        self.room.begin(terms_of(first.item).key)
        return first.item

    def _send_off(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            self.crew.restore(parcel.box, parcel.item)

    @trio.lowlevel.enable_ki_protection
    def admit(self) -> None:
        """Let waiters in as far as there is room, and set `line` and `take` anew."""
        while self._senders and self._has_room(might_start=self._senders.ready):
            self._send_off(self._senders.wake())
        self.rearm()

    def start_one(self) -> bool:
        """Hand the next waiting item to a free worker, if there are both."""
        if not self.free or self.paused or not self._has_next():
            return False
        item = self._next()
        if not self._hand(item):
            # Its worker is leaving. What waits here is looked at again when it has, or goes
            # elsewhere, in any order.
            self._take_back(item)
            return False
        self.admit()
        return True

    @trio.lowlevel.enable_ki_protection
    def pause(self) -> None:
        """Start nothing more; what is put waits."""
        self.paused = True
        self.rearm()

    @aside.whole
    def resume(self) -> None:
        """Start what waits, as far as workers are parked."""
        self.paused = False
        for scope in self.kept.values():
            scope.cancel()
        self.start_all()

    @trio.lowlevel.enable_ki_protection
    def start_all(self) -> None:
        """Start what waits, as far as workers are free."""
        # Not the override of a subclass: the slot that was used is for what is in here by now.
        while self.room.ready and self._may_start(waited=True):
            if not Mailbox.start_one(self):
                self.give_slot_back()
                break
        self.admit()

    def done(self, key: Hashable) -> None:
        """Note that a job is not in hand any more: another of its key may begin."""
        self.room.release(key)
        if self.crew.gate is None:
            self.start_one()
        else:
            self.start_all()

    def let_look(self, key: object) -> None:
        """Let a worker that keeps something during a pause look again."""
        scope = self.kept.get(key)
        if scope is not None:
            scope.cancel()

    def park(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Note that a worker is about to wait at its channel."""
        self._parking.park(place)
        self.parked += 1
        if self.parked == 1:
            self.rearm()

    def unpark(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Note that a worker stops waiting at its channel without having been handed an item."""
        self._parking.unpark(place)
        self.parked -= 1
        if not self.parked:
            self.rearm()

    def received(self, item: object) -> bool:
        """Note that a worker has received ``item``; tell whether it is to run it."""
        if type(item) is Job and item.ended:
            return False
        self.handed -= 1
        if not self.open:
            self.give_slot_back()
            self.crew.restore(self, item)
        return self.open

    def give_back(self, item: object) -> None:
        """Take in an item that was handed to a worker who has ended before it began."""
        if self.received(item):
            if self.crew.limit is not None:  # else it follows up what has begun, and used no slot
                self.give_slot_back()
            self._take_back(item)

    def _take_back(self, item: object) -> None:
        terms = terms_of(item)
        if type(item) is Job:
            item.place = self
        self.room.release(terms.key)
        self.room.restore(item, trio.current_time(), key=terms.key, priority=terms.priority)
        self.rearm()

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End a job that waits here."""
        self.room.discard(job)
        self.crew.ledger.cancel(job, "waited")
        self.admit()
        # With a rate, or paused, workers rest while jobs wait: this may have been the last.
        self.crew.check_idle()
        return True

    @trio.lowlevel.enable_ki_protection
    def close(self) -> list[object]:
        """Take in no more; return what waits, in order. Those who wait for room are sent away."""
        self.open = False
        items = self.room.drain()
        self.turn_away()
        return items

    @trio.lowlevel.enable_ki_protection
    def turn_away(self) -> None:
        """Send those who wait for room back to where they came from."""
        self._senders.turn_away()
        self.rearm()


#: Nothing can be put into it by hand, and more is not asked of it.
NO_BOX = cast("Mailbox", _NoBox())
