"""A waiting room for work of which only so many may run at once for one key."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from poolder_trio.policies.ranked import PRIORITY, Ranked

if TYPE_CHECKING:
    from collections.abc import Hashable

    from poolder_trio.policies.queues import Room

T = TypeVar("T")


class Keyed(Ranked[T]):
    """Serves the first item, in the queue's order, whose key has a slot free.

    Each key has a heap of its items' numbers by rank. A heap of offers holds the best item of
    each key that has a slot; in the fair order, by when the key was served last. An offer that
    does not hold any more is skipped when it is met, so every step costs O(log n), amortised.

    Args:
        max: how many may wait, of all keys together.
        overflow: what happens when they do.
        order: as in `Queue`.
        limit: how many may be out at once for one key; items without a key are not limited.
    """

    __slots__ = (
        "_before",
        "_heaps",
        "_left",
        "_limit",
        "_offered",
        "_offers",
        "_order",
        "_out",
        "_turns",
    )

    def __init__(self, max: float, overflow: str, order: str, limit: int) -> None:  # noqa: A002
        super().__init__(max, overflow)
        self._order = order
        self._limit = limit
        #: How many of each key were taken and not released.
        self._out: Counter[Hashable] = Counter()
        #: How many of each key wait.
        self._left: Counter[Hashable] = Counter()
        self._heaps: dict[Hashable, list[tuple[float, int]]] = {}
        self._offers: list[tuple[float, int, Hashable]] = []
        self._offered: set[int] = set()
        self._turns: dict[Hashable, int] = {}
        self._before: Keyed[Any] | None = None

    def before(self, line: Room[Any]) -> Room[Any]:
        """Return a room for those who wait for a place in this one; see `Queue.before`."""
        self._before = _Before(self._order, self._limit, self._out, line)
        return self._before

    @property
    def ready(self) -> bool:
        """Whether there is an item that may be taken."""
        while self._offers:
            _, number, key = self._offers[0]
            if self.may_begin(key) and self._best(key) == number:
                return True
            heapq.heappop(self._offers)
            self._offered.remove(number)
        return False

    def drain(self) -> list[T]:
        """Take all items, in the order in which they came, whatever their keys' slots."""
        items = self.items()
        for places in (self._items, self._where, self._left, self._heaps, self._turns):
            places.clear()
        self._offers.clear()
        self._offered.clear()
        return items

    def may_begin(self, key: Hashable) -> bool:
        """Tell whether a slot is free for ``key``."""
        return key is None or self._out[key] < self._limit

    def begin(self, key: Hashable) -> None:
        """Use a slot for an item of ``key``."""
        self._out[key] += 1

    def release(self, key: Hashable) -> None:
        """Give back the slot of an item that was taken."""
        self._out[key] -= 1
        if not self._out[key]:
            del self._out[key]
        self._offer(key)
        if self._before is not None:
            self._before._offer(key)  # noqa: SLF001  # it has the same slots

    def check(self, key: Hashable, priority: float) -> None:
        """Raise unless an item can have these."""
        hash(key)
        PRIORITY("priority", priority, "put")

    def _enter(self, number: int, key: Hashable, priority: float) -> None:
        rank = {"lifo": -number, "priority": -priority}.get(self._order, number)
        heapq.heappush(self._heaps.setdefault(key, []), (rank, number))
        self._left[key] += 1
        if self._order == "fair" and key not in self._turns:
            self._turns[key] = next(self._numbers)
        self._offer(key)

    def _next(self) -> int:
        if not self.ready:
            message = "nothing here has a slot"
            raise IndexError(message)
        _, number, key = heapq.heappop(self._offers)
        self._offered.remove(number)
        heapq.heappop(self._heaps[key])
        self.begin(key)
        if key in self._turns:
            self._turns[key] = next(self._numbers)
        self._one_less(key)
        return number

    def _leave(self, number: int, key: Hashable) -> None:  # noqa: ARG002
        self._one_less(key)
        heap = self._heaps.get(key, [])
        if len(heap) > 2 * self._left[key]:
            heap[:] = [place for place in heap if place[1] in self._items]
            heapq.heapify(heap)

    def _one_less(self, key: Hashable) -> None:
        self._left[key] -= 1
        if self._left[key]:
            self._offer(key)
            return
        del self._left[key], self._heaps[key]
        self._turns.pop(key, None)

    def _best(self, key: Hashable) -> int | None:
        """Return the number of this key's next item; ``None`` if there is none."""
        heap = self._heaps.get(key, [])
        while heap and heap[0][1] not in self._items:
            heapq.heappop(heap)
        return heap[0][1] if heap else None

    def _offer(self, key: Hashable) -> None:
        number = self._best(key)
        if number is None or number in self._offered or not self.may_begin(key):
            return
        rank = self._turns[key] if self._order == "fair" else self._heaps[key][0][0]
        heapq.heappush(self._offers, (rank, number, key))
        self._offered.add(number)


class _Before(Keyed[T]):
    """Stands before a `Keyed`: goes by its slots, and uses none.

    Args:
        order: as in `Queue`.
        limit: how many may be out at once for one key.
        out: how many are, in the room behind.
        line: knows who is next while all wait for their keys.
    """

    __slots__ = ("_line",)

    def __init__(self, order: str, limit: int, out: Counter[Hashable], line: Room[Any]) -> None:
        super().__init__(math.inf, "wait", order, limit)
        self._out = out
        self._line = line

    def begin(self, key: Hashable) -> None:
        """Note nothing: what leaves here begins in the room behind."""

    def restore(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> None:
        """Add an item."""
        super().restore(item, now, key=key, priority=priority)
        self._line.restore(item, now, key=key, priority=priority)

    def pop(self) -> T:
        """Take the first whose key has a slot, or if there is none the first of all."""
        if self.ready:
            item = super().pop()
            self._line.discard(item)
        else:
            item = self._line.pop()
            super().discard(item)
        return item

    def discard(self, item: T) -> None:
        """Withdraw this very object. O(1)."""
        super().discard(item)
        self._line.discard(item)

    def drain(self) -> list[T]:
        """Take all items, in the order in which they came."""
        self._line.drain()
        return super().drain()
