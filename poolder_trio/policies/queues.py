"""The waiting room of a component: its size, its order, and what happens when it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from poolder_trio.policies import checks
from poolder_trio.policies.keyed import Keyed
from poolder_trio.policies.lines import Fifo, Lifo
from poolder_trio.policies.ranked import Fair, Priority

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Hashable

T = TypeVar("T")

_ORDERS: dict[str, Callable[[float, str], Room[object]]] = {
    "fifo": Fifo,
    "lifo": Lifo,
    "priority": Priority,
    "fair": Fair,
}


class Room(Protocol[T]):
    """What a built queue does. The unit of ``now`` is whatever the caller's is."""

    max: float
    overflow: str
    #: Places taken by what is not in here but will come back: jobs that back off.
    reserved: int

    def __len__(self) -> int: ...

    @property
    def ready(self) -> bool:
        """Whether there is an item that may be taken."""
        ...

    def may_begin(self, key: Hashable) -> bool:
        """Tell whether an item of ``key`` may be out beside those that are."""
        ...

    def begin(self, key: Hashable) -> None:
        """Note that an item is out that was never in here."""
        ...

    def release(self, key: Hashable) -> None:
        """Note that an item that was out is done."""
        ...

    def put(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> list[T]:
        """Add ``item``; return what was dropped for it, itself included if it was refused."""
        ...

    def restore(self, item: T, now: float, *, key: Hashable = None, priority: float = 0) -> None:
        """Add an item that was accepted before: the bound does not count for it."""
        ...

    def get(self, now: float) -> tuple[T | None, list[T]]:
        """Take the next item, or ``None``; also return what was dropped meanwhile."""
        ...

    def pop(self) -> T:
        """Take the next item, or raise ``IndexError``."""
        ...

    def items(self) -> list[T]:
        """Return what is in here, in the order in which it came."""
        ...

    def drain(self) -> list[T]:
        """Take all items, in order."""
        ...

    def expire(self, now: float) -> list[T]:
        """Drop what is too old."""
        ...

    def remove(self, item: T, now: float) -> list[T]:
        """Withdraw an item that equals ``item``, if there is one; return what was dropped."""
        ...

    def discard(self, item: T) -> None:
        """Withdraw this very object, which is in here once and will not be put again."""
        ...

    def next_expiry(self, now: float) -> float:
        """Return when `expire` will have something to do; ``math.inf`` for never."""
        ...

    @property
    def line(self) -> deque[T] | None:
        """The items in the order in which they leave, if they are kept in a plain deque."""
        ...


@attrs.frozen
class Queue:
    """Describes a waiting room. It holds nothing: each opening of a component builds its own.

    Args:
        max: how many may wait; ``math.inf`` for no bound. With 0 nothing waits: a job needs a
            worker that is free.
        order: ``"fifo"``, ``"lifo"``, ``"priority"`` (greater first, then oldest first) or
            ``"fair"`` (round robin over keys, each key's items oldest first).
        overflow: what happens on arrival when ``max`` wait already. ``"wait"``: async methods
            wait for space and ``_nowait`` methods raise `QueueFull`; ``"reject"``: raise
            `TooManyRequests`; ``"drop_oldest"``: drop what came first of those that wait;
            ``"drop_newest"``: drop the newcomer.
    """

    max: float = attrs.field(default=1000, validator=checks.COUNT_FROM_0_OR_INF.field)
    order: str = attrs.field(default="fifo", validator=checks.one_of(*_ORDERS).field)
    overflow: str = attrs.field(
        default="wait",
        validator=checks.one_of("wait", "reject", "drop_oldest", "drop_newest").field,
    )

    def build(self, limit_per_key: int | None = None) -> Room[object]:
        """Return an empty room that keeps these rules. It knows no clock and never waits.

        Args:
            limit_per_key: how many items of one key may be out at once; ``None``: any number.
        """
        if limit_per_key is not None:
            return Keyed(self.max, self.overflow, self.order, limit_per_key)
        return _ORDERS[self.order](self.max, self.overflow)
