"""Waiting rooms that are a line: first in, first out, or last in, first out."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


def handle(item: object) -> object:
    """Return what finds ``item`` again in a dict: itself, or its identity if it has no hash."""
    try:
        hash(item)
    except TypeError:
        return ("unhashable", id(item))
    return item


class Fifo(Generic[T]):
    """First in, first out.

    A plain deque, so a waiting item costs the eight bytes of its place. A withdrawn item stays
    in the deque as a ghost until its turn comes. What tells ghosts from the rest is built by the
    first `remove` and thrown away when the room is empty: removing is O(1), amortised, and who
    never removes pays nothing for it.
    """

    __slots__ = (
        "_ghost_count",
        "_ghosts",
        "_here",
        "_items",
        "_take",
        "max",
        "overflow",
        "reserved",
    )

    def __init__(self, max: float = math.inf, overflow: str = "wait") -> None:  # noqa: A002
        self.max = max
        self.overflow = overflow
        self.reserved = 0
        self._items: deque[T] = deque()
        self._take = self._next_in(self._items)
        self._here: Counter[object] | None = None  # once counted: the items that are no ghosts
        self._ghosts: Counter[object] = Counter()
        self._ghost_count = 0

    @staticmethod
    def _next_in(items: deque[T]) -> Callable[[], T]:
        return items.popleft

    def __len__(self) -> int:
        return len(self._items) - self._ghost_count

    @property
    def line(self) -> deque[T] | None:
        """The deque itself, while it has no ghosts."""
        return self._items if self._here is None else None

    def put(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> list[T]:
        """Add ``item``; return what was dropped for it, itself included if it was refused."""
        dropped = []
        if len(self) + self.reserved >= self.max:
            if self.overflow != "drop_oldest" or not len(self):
                return [item]
            dropped.append(self._pop(self._items.popleft))
        self.restore(item, now, key=key, priority=priority)
        return dropped

    def restore(
        self,
        item: T,
        now: float,  # noqa: ARG002
        *,
        key: Hashable = None,  # noqa: ARG002
        priority: float = 0,  # noqa: ARG002
    ) -> None:
        """Add an item that was accepted before: the bound does not count for it."""
        self._items.append(item)
        if self._here is not None:
            self._here[handle(item)] += 1

    def get(self, now: float) -> tuple[T | None, list[T]]:  # noqa: ARG002
        """Take the next item, or ``None`` if there is none."""
        return (self.pop() if len(self) else None), []

    def pop(self) -> T:
        """Take the next item, or raise ``IndexError``."""
        return self._pop(self._take)

    def expire(self, now: float) -> list[T]:  # noqa: ARG002
        """Drop what is too old: nothing ever is."""
        return []

    def next_expiry(self, now: float) -> float:  # noqa: ARG002
        """Return when `expire` will have something to do: never."""
        return math.inf

    def remove(self, item: T, now: float) -> list[T]:  # noqa: ARG002
        """Withdraw an item that equals ``item``, if there is one."""
        if self._here is None:
            self._here = Counter(map(handle, self._items))
        mark = handle(item)
        if self._here[mark]:
            self._ghosts[mark] += 1
            self._ghost_count += 1
            self._discount(self._here, mark)
        self._forget_if_empty()
        return []

    def _pop(self, take: Callable[[], T]) -> T:
        item = take()
        if self._here is None:
            return item
        # A room with ghosts is never empty, so this ends.
        while self._ghosts[mark := handle(item)]:
            self._ghost_count -= 1
            self._discount(self._ghosts, mark)
            item = take()
        self._discount(self._here, mark)
        self._forget_if_empty()
        return item

    @staticmethod
    def _discount(counts: Counter[object], mark: object) -> None:
        counts[mark] -= 1
        if not counts[mark]:
            del counts[mark]

    def _forget_if_empty(self) -> None:
        if not len(self):
            self._items.clear()
            self._here = None
            self._ghosts.clear()
            self._ghost_count = 0


class Lifo(Fifo[T]):
    """Last in, first out. Of equal items, a removal withdraws the one that came last."""

    __slots__ = ()

    @staticmethod
    def _next_in(items: deque[T]) -> Callable[[], T]:
        return items.pop

    @property
    def line(self) -> None:
        """None: the order of service is not that of the deque."""
        return None
