"""Waiting rooms whose order is not that of arrival: by priority, or fair between keys."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from poolder_trio.policies import checks
from poolder_trio.policies.unlimited import Unlimited

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

PRIORITY = checks.Check(
    "a number, and no nan",
    checks.is_number,
    lambda value: value == value,  # noqa: PLR0124
)


class Ranked(Unlimited[T]):
    """Items by number of arrival; subclasses keep the numbers in their order of service."""

    __slots__ = ("_items", "_numbers", "_where", "max", "overflow", "reserved")

    line: None = None

    def __init__(self, max: float = math.inf, overflow: str = "wait") -> None:  # noqa: A002
        self.max = max
        self.overflow = overflow
        self.reserved = 0
        self._numbers = itertools.count()
        # Ordered: the first of a plain dict is slow to find when many before it were deleted.
        self._items: OrderedDict[int, tuple[Hashable, T]] = OrderedDict()  # with their keys
        self._where: dict[int, int] = {}  # from the id of an item to its number

    def check(self, key: Hashable, priority: float) -> None:
        """Raise unless an item can have these."""
        raise NotImplementedError

    def _enter(self, number: int, key: Hashable, priority: float) -> None:
        """Give ``number`` its place in the order of service."""
        raise NotImplementedError

    def _next(self) -> int:
        """Take the next number out of the order of service; there is one."""
        raise NotImplementedError

    def _leave(self, number: int, key: Hashable) -> None:
        """Take ``number`` out of the order of service before its turn."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> list[T]:
        """Add ``item``; return what was dropped for it, itself included if it was refused."""
        dropped: list[T] = []
        if len(self._items) + self.reserved >= self.max:
            if self.overflow != "drop_oldest" or not self._items:
                return [item]
            self.check(key, priority)  # before anything is dropped for it
            dropped.append(self._withdraw(next(iter(self._items))))
        self.restore(item, now, key=key, priority=priority)
        return dropped

    def restore(
        self,
        item: T,
        now: float,  # noqa: ARG002
        *,
        key: Hashable = None,
        priority: float = 0,
    ) -> None:
        """Add an item that was accepted before: the bound does not count for it."""
        self.check(key, priority)
        number = next(self._numbers)
        self._items[number] = key, item
        self._where[id(item)] = number
        self._enter(number, key, priority)

    def get(self, now: float) -> tuple[T | None, list[T]]:  # noqa: ARG002
        """Take the next item, or ``None`` if there is none."""
        return (self.pop() if self._items else None), []

    def pop(self) -> T:
        """Take the next item, or raise ``IndexError``."""
        if not self._items:
            message = "pop from an empty room"
            raise IndexError(message)
        return self._forget(self._next())

    def expire(self, now: float) -> list[T]:  # noqa: ARG002
        """Drop what is too old: nothing ever is."""
        return []

    def next_expiry(self, now: float) -> float:  # noqa: ARG002
        """Return when `expire` will have something to do: never."""
        return math.inf

    def remove(self, item: T, now: float) -> list[T]:  # noqa: ARG002
        """Withdraw the oldest item that equals ``item``, if there is one. O(n)."""
        for number, (_, other) in self._items.items():
            if other is item or other == item:
                self._withdraw(number)
                break
        return []

    def items(self) -> list[T]:
        """Return what is in here, in the order in which it came."""
        return [item for _, item in self._items.values()]

    def discard(self, item: T) -> None:
        """Withdraw this very object, which is in here once and will not be put again. O(1)."""
        self._withdraw(self._where[id(item)])

    def _withdraw(self, number: int) -> T:
        key = self._items[number][0]
        item = self._forget(number)
        self._leave(number, key)
        return item

    def _forget(self, number: int) -> T:
        _, item = self._items.pop(number)
        if self._where.get(id(item)) == number:
            del self._where[id(item)]
        return item


class Priority(Ranked[T]):
    """The greatest priority first, the oldest among equals.

    A withdrawn number stays in the heap. When such stale numbers outweigh the items they are
    swept out, so a removal is O(1) amortised beyond the heap's own cost.
    """

    __slots__ = ("_heap",)

    def __init__(self, max: float = math.inf, overflow: str = "wait") -> None:  # noqa: A002
        super().__init__(max, overflow)
        self._heap: list[tuple[float, int]] = []

    def check(self, key: Hashable, priority: float) -> None:  # noqa: ARG002
        """Raise unless ``priority`` can be compared."""
        PRIORITY("priority", priority, "put")

    def _enter(self, number: int, key: Hashable, priority: float) -> None:  # noqa: ARG002
        heapq.heappush(self._heap, (-priority, number))

    def _next(self) -> int:
        while (number := heapq.heappop(self._heap)[1]) not in self._items:
            pass
        return number

    def _leave(self, number: int, key: Hashable) -> None:  # noqa: ARG002
        if len(self._heap) > 2 * len(self._items):
            self._heap = [place for place in self._heap if place[1] in self._items]
            heapq.heapify(self._heap)


class Fair(Ranked[T]):
    """Round robin over the keys, each key's items oldest first."""

    __slots__ = ("_turns",)

    def __init__(self, max: float = math.inf, overflow: str = "wait") -> None:  # noqa: A002
        super().__init__(max, overflow)
        # Each key's numbers; the key whose turn is next comes first.
        self._turns: OrderedDict[Hashable, OrderedDict[int, None]] = OrderedDict()

    def check(self, key: Hashable, priority: float) -> None:  # noqa: ARG002
        """Raise unless ``key`` can be told from others."""
        hash(key)

    def _enter(self, number: int, key: Hashable, priority: float) -> None:  # noqa: ARG002
        if key not in self._turns:
            self._turns[key] = OrderedDict()
        self._turns[key][number] = None

    def _next(self) -> int:
        key, numbers = self._turns.popitem(last=False)
        number, _ = numbers.popitem(last=False)
        if numbers:
            self._turns[key] = numbers
        return number

    def _leave(self, number: int, key: Hashable) -> None:
        numbers = self._turns[key]
        del numbers[number]
        if not numbers:
            del self._turns[key]
