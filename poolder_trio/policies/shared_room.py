"""One waiting room for several servers: the bound and the ages are those of all that wait."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies.aged import Aged, Drop, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from poolder_trio.policies.codel import Control
    from poolder_trio.policies.queues import Room


class Owned(Entry):
    """An item, when it came, and whose it is."""

    __slots__ = ("part",)

    def __init__(self, item: object, since: float, part: Part) -> None:
        super().__init__(item, since)
        self.part = part


@attrs.frozen
class Gone(Drop):
    """An item that was dropped, and whose it was."""

    part: Part


class Common:
    """What the parts of one room share.

    Args:
        max: how many may wait in all parts together.
        control: drops of all parts; ``None``: it does not.
    """

    def __init__(self, max: float, control: Control | None) -> None:  # noqa: A002  # as in `Queue`
        self.max = max
        self.control = control
        #: All that wait, the oldest first.
        self.entries: OrderedDict[Entry, None] = OrderedDict()
        self.parts: weakref.WeakSet[Part] = weakref.WeakSet()


class Part(Aged):
    """One server's part of a room. Its order is its own; the bound and the ages are of the whole.

    Whoever looks, the oldest of all is dropped, and may be another's: that one is told.

    Attributes:
        told: is called with what was dropped here while another part was looked at.
        admit: is called when there may be room, because something has left another part.
    """

    __slots__ = ("__weakref__", "_common", "admit", "told")

    def __init__(
        self,
        common: Common,
        room: Room[Entry],
        timeout: float,
        min: int,  # noqa: A002  # as in `Queue`
        *,
        forgives: bool,
        overflow: str,
    ) -> None:
        self._common = common
        super().__init__(room, timeout, min, common.control, forgives=forgives)
        self._entries = common.entries
        self.overflow = overflow
        self.told: Callable[[Sequence[Drop]], object] = lambda _: None
        self.admit: Callable[[], object] = lambda: None
        common.parts.add(self)

    def __len__(self) -> int:
        return len(self._room)

    @property
    def max(self) -> float:
        """How many may wait here, while so many wait elsewhere."""
        return self._common.max - (len(self._entries) - len(self))

    @max.setter  # noqa: A003  # it is the one above
    def max(self, value: float) -> None:
        """Nothing: it is said for all parts together."""

    def arrive(
        self, item: object, now: float, *, key: Hashable = None, priority: float = 0
    ) -> list[Drop]:
        """Do as `put`, and tell why each was dropped; of a refused newcomer, which comes last."""
        self._room.check(key, priority)  # before anything is dropped for it
        drops: list[Drop] = []
        if self._is_full() and self.overflow != "drop_oldest":
            drops = self.age(now)
        if self._is_full():
            if self.overflow != "drop_oldest" or not self._entries:
                return [*drops, Drop(item, self.overflow, 0)]
            drops += self._share_out([self._drop("drop_oldest", now)])
        self.restore(item, now, key=key, priority=priority)
        return drops + self.age(now)

    def _is_full(self) -> bool:
        return len(self._entries) + self.reserved >= self._common.max

    def restore(
        self, item: object, now: float, *, key: Hashable = None, priority: float = 0
    ) -> None:
        """Add an item that was accepted before: the bound does not count for it. Drop nothing."""
        entry = Owned(item, now, self)
        self._room.restore(entry, now, key=key, priority=priority)
        self._enter(entry)

    def age(self, now: float) -> list[Drop]:
        """Drop what is too old, anywhere; return what was here, and why each was dropped."""
        return self._share_out(super().age(now))

    def _share_out(self, drops: Sequence[Drop]) -> list[Drop]:
        """Tell the other parts of their drops, and return the others."""
        whose: dict[Part, list[Drop]] = {self: []}
        for drop in drops:
            assert isinstance(drop, Gone)
            whose.setdefault(drop.part, []).append(drop)
        own = whose.pop(self)
        for part, theirs in whose.items():
            part.told(theirs)
        return own

    def _drop(self, rule: str, now: float) -> Drop:
        entry = self._oldest()
        assert isinstance(entry, Owned)
        entry.part.take_out(entry)
        return Gone(entry.item, rule, now - entry.since, entry.part)

    def _find(self, item: object) -> Entry | None:
        return next((e for e in self._room.items() if e.item is item or e.item == item), None)

    def take_out(self, entry: Entry) -> None:
        """Let an entry of this part go."""
        self._room.discard(entry)
        self._forget(entry)

    def freed(self) -> None:
        """Let others have the room that something which has left was taking."""
        for part in tuple(self._common.parts):
            if part is not self:
                part.admit()

    def items(self) -> list[object]:
        """Return what is in here, in the order in which it came."""
        return [entry.item for entry in self._room.items()]

    def drain(self) -> list[object]:
        """Take all items of this part, in order; it is a part no more."""
        entries = self._room.drain()
        for entry in entries:
            self._forget(entry)
        self._common.parts.discard(self)
        self.freed()
        return [entry.item for entry in entries]
