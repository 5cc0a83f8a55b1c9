"""Batch windows: which items go together, and when."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from typing import TypeAlias

    Reason: TypeAlias = Literal["size", "timeout", "weight", "flush", "close"]

T = TypeVar("T")


class Batch(list[T]):
    """Items that are handled together.

    Attributes:
        reason: why it was not left to grow: ``"size"``, ``"timeout"``, ``"weight"``, ``"flush"``
            or ``"close"``.
        key: what its items have in common; ``None`` where there are no keys.
    """

    __slots__ = ("key", "reason")

    def __init__(
        self, items: Iterable[T] = (), reason: Reason = "flush", key: Hashable = None
    ) -> None:
        super().__init__(items)
        self.reason: Reason = reason
        self.key = key


class BatchStream(Generic[T]):
    """What a batcher's handler gets with ``stream=True``: a `Batch` as an iterator.

    Attributes:
        reason: as of a `Batch`.
        key: as of a `Batch`.
    """

    __slots__ = ("_items", "key", "reason")

    def __init__(self, batch: Batch[T]) -> None:
        self._items = iter(batch)
        self.reason = batch.reason
        self.key = batch.key

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._items)


class _Gone:
    """Stands where an item was that has been discarded."""

    __slots__ = ()


_GONE: Final = _Gone()


class Window(Generic[T]):
    """The items of one key that are not a batch yet, oldest first.

    What is discarded leaves a gap, so that nothing has to be moved: gaps are swept out when they
    outweigh the others, or are in the way.
    """

    __slots__ = (
        "_exact",
        "_gaps",
        "_placed",
        "_places",
        "_weights",
        "items",
        "key",
        "since",
        "weight",
    )

    def __init__(self, key: Hashable, since: float, *, weighed: bool) -> None:
        self.key = key
        #: When its first item came: its clock starts then, whatever becomes of that item.
        self.since = since
        self.items: list[T | _Gone] = []
        self.weight = 0.0
        self._weights: list[float] | None = [] if weighed else None
        #: What they weigh, kept from the first time that one is taken out: then no rounding of
        #: what was added and taken away is left in ``weight``.
        self._exact: Fraction | None = None
        self._gaps = 0
        #: Where the first so many are, by identity; as far as somebody had to know.
        self._places: dict[int, int] = {}
        self._placed = 0

    def __len__(self) -> int:
        return len(self.items) - self._gaps

    @property
    def line(self) -> list[T] | None:
        """The items, while there are no gaps among them."""
        return None if self._gaps else cast("list[T]", self.items)

    def put(self, item: T, weight: float, *, front: bool) -> None:
        """Add an item, behind the others or before them."""
        place = 0 if front else len(self.items)
        self.items.insert(place, item)
        if front:
            self._forget_places()
        if self._weights is not None:
            self._weights.insert(place, weight)
            self.weight += weight
            if self._exact is not None:
                self._exact += Fraction(weight)

    def pop(self, index: int) -> T:
        """Take the item at ``index``, or raise ``IndexError``."""
        self.sweep()
        item = cast("list[T]", self.items).pop(index)
        self._forget_places()
        if self._weights is not None:
            self._lighten(self._weights, index)
            del self._weights[index]
        return item

    def discard(self, item: T) -> None:
        """Take out this very object, which is in here once. O(1), but for what came since."""
        items = self.items
        for place in range(self._placed, len(items)):
            self._places[id(items[place])] = place
        self._placed = len(items)
        place = self._places[id(item)]
        items[place] = _GONE
        self._gaps += 1
        if self._weights is not None:
            self._lighten(self._weights, place)
        if 2 * self._gaps > len(items):
            self.sweep()

    def _lighten(self, weights: list[float], place: int) -> None:
        if self._exact is None:
            self._exact = sum(map(Fraction, weights), Fraction())
        self._exact -= Fraction(weights[place])
        self.weight = float(self._exact)

    def _forget_places(self) -> None:
        self._places.clear()
        self._placed = 0

    def sweep(self) -> list[T]:
        """Close the gaps; return the items."""
        if self._gaps:
            kept = [place for place, item in enumerate(self.items) if item is not _GONE]
            self.items = [self.items[place] for place in kept]
            if self._weights is not None:
                self._weights = [self._weights[place] for place in kept]
            self._gaps = 0
            self._forget_places()
        return cast("list[T]", self.items)


class Windows(Generic[T]):
    """One window for each key. The unit of ``now`` is whatever the caller's is.

    Args:
        limit: as many items are a batch.
        timeout: a window of this age is a batch.
        max_weight: no batch weighs more.
        keyed: whether there may be other keys than ``None``.
    """

    __slots__ = ("_count", "_keyed", "_max_weight", "_timeout", "_windows", "limit")

    def __init__(
        self,
        limit: int,
        timeout: float = math.inf,
        max_weight: float = math.inf,
        *,
        keyed: bool = True,
    ) -> None:
        self.limit = limit
        self._timeout = timeout
        self._max_weight = max_weight
        self._keyed = keyed
        self._count = 0
        #: By key; in the order in which they were begun, and so in the order in which they are due.
        self._windows: dict[Hashable, Window[T]] = {}

    def __len__(self) -> int:
        # Without keys, items come in that nobody counts.
        return self._count if self._keyed else sum(map(len, self._windows.values()))

    @property
    def line(self) -> list[T] | None:
        """The items without a key, if there are any and nothing is weighed.

        Where no other keys are, an item that is neither the first nor the last of its batch may
        be appended by hand.
        """
        window = None if self._weighed else self._windows.get(None)
        return None if window is None else window.line

    @property
    def _weighed(self) -> bool:
        return self._max_weight < math.inf

    def add(
        self, item: T, now: float, *, key: Hashable = None, weight: float = 0.0, front: bool = False
    ) -> list[Batch[T]]:
        """Add ``item``, which is not heavier than ``max_weight``; return what is full by that.

        The window goes before an item that would make it too heavy, which begins the next one.
        """
        full: list[Batch[T]] = []
        window = self._windows.get(key)
        if window is not None and window.weight + weight > self._max_weight:
            full.append(self._emit(window, "weight"))
            window = None
        if window is None:
            window = self._windows[key] = Window(key, now, weighed=self._weighed)
        window.put(item, weight, front=front)
        self._count += 1
        if len(window) >= self.limit:
            full.append(self._emit(window, "size"))
        elif window.weight >= self._max_weight:
            full.append(self._emit(window, "weight"))
        return full

    def expire(self, now: float) -> list[Batch[T]]:
        """Return what is old enough at ``now``."""
        due: list[Batch[T]] = []
        while self._windows and self.next_due() <= now:
            due.append(self._emit(self._first(), "timeout"))
        return due

    def next_due(self) -> float:
        """Return when `expire` will have something to return; ``math.inf`` for never."""
        return self._first().since + self._timeout if self._windows else math.inf

    def flush(self, reason: Reason = "flush") -> list[Batch[T]]:
        """Return all there is, the oldest window first."""
        return [self._emit(window, reason) for window in tuple(self._windows.values())]

    def flush_oldest(self) -> list[Batch[T]]:
        """Return the oldest window, because there is no room for it to grow."""
        return [self._emit(self._first(), "size")] if self._windows else []

    def pop_at(self, index: int, *, key: Hashable = None) -> T:
        """Take the item at ``index`` of a key's window, or raise ``IndexError``."""
        window = self._windows.get(key)
        count = 0 if window is None else len(window)
        if window is None or not -count <= index < count:
            message = f"{count} items are in the window, got index {index}"
            raise IndexError(message)
        return self._pop(window, index)

    def pop_oldest(self) -> T:
        """Take the first item of the oldest window, or raise ``IndexError``."""
        if not self._windows:
            message = "no item waits in a window"
            raise IndexError(message)
        return self._pop(self._first(), 0)

    def discard(self, item: T, *, key: Hashable = None) -> None:
        """Take this very object out of a key's window; it is in there."""
        window = self._windows[key]
        window.discard(item)
        self._left(window)

    def _first(self) -> Window[T]:
        return next(iter(self._windows.values()))

    def _pop(self, window: Window[T], index: int) -> T:
        item = window.pop(index)
        self._left(window)
        return item

    def _left(self, window: Window[T]) -> None:
        self._count -= 1
        if not len(window):
            del self._windows[window.key]

    def _emit(self, window: Window[T], reason: Reason) -> Batch[T]:
        del self._windows[window.key]
        self._count -= len(window)
        return Batch(window.sweep(), reason, window.key)
