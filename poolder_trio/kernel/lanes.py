"""Inputs of a map by their keys: so that a key that is full holds up no other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from poolder_trio.kernel.job import Job

S = TypeVar("S")

#: How many inputs, or results, of a map wait at most because a key is full.
MOST_HELD = 1000


class Entry(Generic[S]):
    """An input that was read, and its job, once it was sent."""

    __slots__ = ("item", "job", "key")

    def __init__(self, item: S, key: Hashable) -> None:
        self.item = item
        self.key = key
        self.job: Job[Any] | None = None


class _Lane(Generic[S]):
    """One key: how many were let in and have not ended, and those that wait."""

    __slots__ = ("held", "out")

    def __init__(self) -> None:
        self.out = 0
        self.held: deque[Entry[S]] = deque()


class Lanes(Generic[S]):
    """Keeps back the inputs whose key has as many under way as may run.

    They are kept here and not in the queue of the component: there they would take the places of
    others, and grow old. One of a key is let go when one has ended, so that places are only ever
    taken by what can run: if strangers run jobs of a key, they use up as many slots themselves.

    Args:
        limit: how many of one key may run at once; inputs without a key are not limited.
    """

    __slots__ = ("_lanes", "_limit", "held", "ready")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lanes: dict[Hashable, _Lane[S]] = {}
        #: Those whose key is free again, in that order.
        self.ready: deque[Entry[S]] = deque()
        #: How many are kept back, those that are ready included.
        self.held = 0

    def has_room(self, others: int) -> bool:
        """Tell whether one more may be read, when ``others`` wait that are not in here."""
        return not self.ready and self.held + others < MOST_HELD

    def enter(self, entry: Entry[S]) -> bool:
        """Tell whether ``entry`` may be sent at once; if not, keep it."""
        if entry.key is None:
            return True
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = _Lane()
        if lane.out < self._limit:
            lane.out += 1
            return True
        lane.held.append(entry)
        self.held += 1
        return False

    def leave(self, entry: Entry[S]) -> None:
        """Note that what was sent has ended: the next of its key is ready."""
        if entry.key is None:
            return
        lane = self._lanes[entry.key]
        if lane.held:
            self.ready.append(lane.held.popleft())
            return
        lane.out -= 1
        if not lane.out:
            del self._lanes[entry.key]

    def pop(self) -> Entry[S]:
        """Take the first that is ready."""
        self.held -= 1
        return self.ready.popleft()
