"""A waiting room that drops what has waited too long."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from poolder_trio.policies.codel import Control
    from poolder_trio.policies.queues import Room


class Entry:
    """An item and when it came."""

    __slots__ = ("item", "since")

    def __init__(self, item: object, since: float) -> None:
        self.item = item
        self.since = since


@attrs.frozen
class Drop:
    """An item that was dropped, by which rule, and how long it had waited."""

    item: object
    rule: str
    waited: float


class Aged:
    """Stands before a room of any order: that one knows who is next, this one who is the oldest.

    Whatever the order, it is the oldest that is dropped. An item is as old as its last arrival.
    Each step costs O(1), amortised, beside what it costs in the room.

    Args:
        room: an empty room, which keeps the order and the bound.
        timeout: what has waited for so long is dropped; ``math.inf``: nothing is.
        min: while no more than these wait, nothing is dropped for its age.
        control: drops as well, of those that are left by ``timeout``; ``None``: it does not.
        forgives: whether ``control`` relaxes when somebody takes while the oldest is in time; where
            the newest is taken, that says too little.
    """

    __slots__ = (
        "_control",
        "_entries",
        "_forgives",
        "_min",
        "_now",
        "_room",
        "_timeout",
        "_where",
        "max",
        "overflow",
        "reserved",
    )

    line: None = None

    def __init__(
        self,
        room: Room[Entry],
        timeout: float,
        min: int,  # noqa: A002  # as in `Queue`
        control: Control | None,
        *,
        forgives: bool,
    ) -> None:
        self.max = room.max
        self.overflow = room.overflow
        self.reserved = 0
        self._room = room
        self._timeout = timeout
        self._min = min
        self._control = control
        self._forgives = forgives
        self._now: float = 0
        #: The oldest first. Ordered: the first of a plain dict is slow to find.
        self._entries: OrderedDict[Entry, None] = OrderedDict()
        self._where: dict[int, Entry] = {}  # from the id of an item; the entry keeps it alive

    def __len__(self) -> int:
        return len(self._entries)

    # -- in

    def arrive(
        self, item: object, now: float, *, key: Hashable = None, priority: float = 0
    ) -> list[Drop]:
        """Do as `put`, and tell why each was dropped; of a refused newcomer, which comes last."""
        room = self._room
        room.check(key, priority)  # before anything is dropped for it
        drops: list[Drop] = []
        room.reserved = self.reserved
        full = len(self) + self.reserved >= room.max
        if full and room.overflow != "drop_oldest":
            drops = self.age(now)
        entry = Entry(item, now)
        for other in room.put(entry, now, key=key, priority=priority):
            if other is entry:
                drops.append(Drop(item, room.overflow, 0))
                return drops
            self._forget(other)
            drops.append(Drop(other.item, room.overflow, now - other.since))
        self._enter(entry)
        drops += self.age(now)
        return drops

    def put(
        self, item: object, now: float, *, key: Hashable = None, priority: float = 0
    ) -> list[object]:
        """Add ``item``; return what was dropped, itself included if it was refused."""
        return [drop.item for drop in self.arrive(item, now, key=key, priority=priority)]

    def restore(
        self, item: object, now: float, *, key: Hashable = None, priority: float = 0
    ) -> None:
        """Add an item that was accepted before: the bound does not count for it. Drop nothing."""
        entry = Entry(item, now)
        self._room.restore(entry, now, key=key, priority=priority)
        self._enter(entry)

    def _enter(self, entry: Entry) -> None:
        self._now = entry.since
        self._entries[entry] = None
        self._where[id(entry.item)] = entry

    def check(self, key: Hashable, priority: float) -> None:
        """Raise unless an item can have these."""
        self._room.check(key, priority)

    # -- out, too old

    def age(self, now: float) -> list[Drop]:
        """Do as `expire`, and tell why each was dropped. A second time at ``now``, none is."""
        self._now = now
        drops: list[Drop] = []
        while self._may_drop() and self._oldest().since + self._timeout <= now:
            drops.append(self._drop("timeout", now))
        control = self._control
        if control is not None and self._may_drop():
            goes_on = control.drop(self._oldest().since, now)
            while goes_on:
                drops.append(self._drop("codel", now))
                goes_on = self._may_drop() and control.drop_another(now)
        return drops

    def expire(self, now: float) -> list[object]:
        """Drop what is too old."""
        return [drop.item for drop in self.age(now)]

    def next_expiry(self, now: float) -> float:  # noqa: ARG002
        """Return when `expire` will have something to do or to note; ``math.inf`` for never."""
        if not self._may_drop():
            return math.inf
        since = self._oldest().since
        due = since + self._timeout
        return due if self._control is None else min(due, self._control.next_look(since))

    def _may_drop(self) -> bool:
        return len(self._entries) > self._min

    def _oldest(self) -> Entry:
        return next(iter(self._entries))

    def _drop(self, rule: str, now: float) -> Drop:
        entry = self._oldest()
        self._room.discard(entry)
        self._forget(entry)
        return Drop(entry.item, rule, now - entry.since)

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry]
        if self._where.get(id(entry.item)) is entry:
            del self._where[id(entry.item)]

    # -- out, to be served

    @property
    def ready(self) -> bool:
        """Whether there is an item that may be taken."""
        return self._room.ready

    def take(self, now: float) -> tuple[object | None, list[Drop]]:
        """Do as `get`, and tell why each was dropped."""
        drops = self.age(now)
        if self._control is not None and not self._entries:
            self._control.relax()
        return (self.pop() if self._room.ready else None), drops

    def get(self, now: float) -> tuple[object | None, list[object]]:
        """Take the next item, or ``None``; also return what was dropped before."""
        item, drops = self.take(now)
        return item, [drop.item for drop in drops]

    def pop(self) -> object:
        """Take the next item, or raise ``IndexError``. Drop nothing: it is no later than before."""
        late = len(self._entries) > self._min
        if late and self._control is not None and self._forgives:
            late = self._control.is_late(self._oldest().since, self._now)
        entry = self._room.pop()
        self._forget(entry)
        if self._control is not None and not late:
            self._control.relax()
        return entry.item

    def may_begin(self, key: Hashable) -> bool:
        """Tell whether an item of ``key`` may be out beside those that are."""
        return self._room.may_begin(key)

    def begin(self, key: Hashable) -> None:
        """Note that an item is out that was never in here."""
        self._room.begin(key)

    def release(self, key: Hashable) -> None:
        """Note that an item that was out is done."""
        self._room.release(key)

    def before(self, line: Room[Any]) -> Room[Any]:
        """Return a room for those who wait for a place in this one: nobody ages there."""
        return self._room.before(line)

    def freed(self) -> None:
        """Note that others may have the room that something which has left was taking."""

    # -- out, by hand

    def remove(self, item: object, now: float) -> list[object]:
        """Withdraw ``item``, or if it is not in here one that equals it; return what was dropped.

        O(1) for the very object, unless some object is in here twice; else O(n).
        """
        entry = self._find(item)
        if entry is not None:
            self._room.discard(entry)
            self._forget(entry)
        return self.expire(now)

    def _find(self, item: object) -> Entry | None:
        if len(self._where) == len(self._entries) and id(item) in self._where:
            return self._where[id(item)]
        same = (entry for entry in self._entries if entry.item is item or entry.item == item)
        return next(same, None)

    def discard(self, item: object) -> None:
        """Withdraw this very object, which is in here once and will not be put again. O(1)."""
        entry = self._where[id(item)]
        self._room.discard(entry)
        self._forget(entry)

    def items(self) -> list[object]:
        """Return what is in here, in the order in which it came."""
        return [entry.item for entry in self._entries]

    def drain(self) -> list[object]:
        """Take all items, in order."""
        items = [entry.item for entry in self._room.drain()]
        self._entries.clear()
        self._where.clear()
        return items
