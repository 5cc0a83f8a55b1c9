"""Waiting rooms that are a line: first in, first out, or last in, first out."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from poolder_trio.policies.unlimited import Unlimited

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class Fifo(Unlimited[T]):
    """First in, first out.

    A plain deque, so a waiting item costs the eight bytes of its place. A discarded item stays
    in it as a ghost until its turn comes, or until ghosts outweigh the others and are swept out.
    """

    __slots__ = ("_ghosts", "_items", "_take", "max", "overflow", "reserved")

    def __init__(self, max: float = math.inf, overflow: str = "wait") -> None:  # noqa: A002
        self.max = max
        self.overflow = overflow
        self.reserved = 0
        self._items: deque[T] = deque()
        self._take = self._taker()
        # By identity: the deque keeps them alive, so that no other object has their id.
        self._ghosts: set[int] = set()

    def _taker(self) -> Callable[[], T]:
        return self._items.popleft

    def __len__(self) -> int:
        return len(self._items) - len(self._ghosts)

    @property
    def line(self) -> deque[T] | None:
        """The deque itself, while it has no ghosts."""
        return None if self._ghosts else self._items

    def put(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> list[T]:
        """Add ``item``; return what was dropped for it, itself included if it was refused."""
        dropped: list[T] = []
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

    def get(self, now: float) -> tuple[T | None, list[T]]:  # noqa: ARG002
        """Take the next item, or ``None`` if there is none."""
        return (self.pop() if len(self) else None), []

    def pop(self) -> T:
        """Take the next item, or raise ``IndexError``."""
        return self._pop(self._take)

    def _pop(self, take: Callable[[], T]) -> T:
        item = take()
        while self._ghosts and id(item) in self._ghosts:
            self._ghosts.remove(id(item))
            item = take()
        return item

    def expire(self, now: float) -> list[T]:  # noqa: ARG002
        """Drop what is too old: nothing ever is."""
        return []

    def next_expiry(self, now: float) -> float:  # noqa: ARG002
        """Return when `expire` will have something to do: never."""
        return math.inf

    def remove(self, item: T, now: float) -> list[T]:  # noqa: ARG002
        """Withdraw the oldest item that equals ``item``, if there is one. O(n)."""
        self._sweep()
        if item in self._items:
            self._items.remove(item)
        return []

    def items(self) -> list[T]:
        """Return what is in here, in the order in which it came."""
        return [item for item in self._items if id(item) not in self._ghosts]

    def discard(self, item: T) -> None:
        """Withdraw this very object, which is in here once and will not be put again. O(1)."""
        self._ghosts.add(id(item))
        if 2 * len(self._ghosts) > len(self._items):
            self._sweep()

    def _sweep(self) -> None:
        if self._ghosts:
            kept = [item for item in self._items if id(item) not in self._ghosts]
            self._items.clear()
            self._items.extend(kept)
            self._ghosts.clear()


class Lifo(Fifo[T]):
    """Last in, first out."""

    __slots__ = ()

    def _taker(self) -> Callable[[], T]:
        return self._items.pop

    @property
    def line(self) -> None:
        """None: the order of service is not that of the deque."""
        return None
