"""The waiting room of a component: its size, its order, and what happens when it is full."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from poolder_trio.policies import checks
from poolder_trio.policies.aged import Aged
from poolder_trio.policies.codel import CoDel, Control
from poolder_trio.policies.keyed import Keyed
from poolder_trio.policies.lines import Fifo, Lifo
from poolder_trio.policies.ranked import Fair, Priority

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Hashable

T = TypeVar("T")

_ORDERS: dict[str, Callable[[float, str], Room[Any]]] = {
    "fifo": Fifo,
    "lifo": Lifo,
    "priority": Priority,
    "fair": Fair,
}

_CODEL = checks.Check("a CoDel or None", lambda value: value is None or isinstance(value, CoDel))


class Room(Protocol[T]):
    """What a built queue does. The unit of ``now`` is whatever the caller's is."""

    max: float
    overflow: str
    #: Places taken by what is not in here but will come back: jobs that back off.
    reserved: int

    def __len__(self) -> int:
        """Return how many items wait."""
        ...

    @property
    def ready(self) -> bool:
        """Whether there is an item that may be taken."""
        ...

    def check(self, key: Hashable, priority: float) -> None:
        """Raise unless an item can have these."""
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
        """Drop what is too old; return it."""
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

    def before(self, line: Room[Any]) -> Room[Any]:
        """Return a room for those who wait for a place in this one; see `Queue.before`.

        Args:
            line: an empty room of the same order that knows nothing of keys' slots.
        """
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
        timeout: seconds after which a job that still waits is dropped, in any order;
            ``math.inf`` for never.
        min: while no more than these wait, no job is dropped for its age.
        codel: a `CoDel`: drop the oldest while all wait too long; ``None`` for never. With
            ``timeout`` both hold: first goes what is over that, and then `CoDel` looks at what is
            the oldest of the rest.

    A job that is dropped raises `TooManyRequests` for whoever awaits it. Its age is counted from
    when it got its place in the queue: a sender's wait for room is not part of it, and a job that
    backed off, or was moved to another worker, begins anew.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    max: float = attrs.field(default=1000, validator=checks.COUNT_FROM_0_OR_INF.field)
    order: str = attrs.field(default="fifo", validator=checks.one_of(*_ORDERS).field)
    overflow: str = attrs.field(
        default="wait",
        validator=checks.one_of("wait", "reject", "drop_oldest", "drop_newest").field,
    )
    timeout: float = attrs.field(default=math.inf, validator=checks.SECONDS.field)
    min: int = attrs.field(default=0, validator=checks.NATURAL.field)
    codel: CoDel | None = attrs.field(default=None, validator=_CODEL.field)

    @property
    def ages(self) -> bool:
        """Whether jobs may be dropped for their age."""
        return self.timeout < math.inf or self.codel is not None

    def build(self, limit_per_key: int | None = None) -> Room[object]:
        """Return an empty room that keeps these rules. It knows no clock and never waits.

        Args:
            limit_per_key: how many items of one key may be out at once; ``None``: any number.
        """
        room: Room[Any]
        if limit_per_key is not None:
            room = Keyed(self.max, self.overflow, self.order, limit_per_key)
        else:
            room = _ORDERS[self.order](self.max, self.overflow)
        if not self.ages:
            return room
        control = None if self.codel is None else Control(self.codel)
        return Aged(room, self.timeout, self.min, control, forgives=self.order != "lifo")

    def before(self, room: Room[Any]) -> Room[Any]:
        """Return an empty room without bound for those who wait for a place in ``room``.

        `Room.pop` lets in what this queue's order would start first; what waits for its key comes
        behind what could start. An item begins when it has left, in ``room``.
        """
        return room.before(_ORDERS[self.order](math.inf, "wait"))
