"""What a waiting room says about slots when it has no limit for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    from poolder_trio.policies.queues import Room


T = TypeVar("T")


class Unlimited(Generic[T]):
    """Base of the rooms in which any item may follow any other."""

    __slots__ = ()

    def __len__(self) -> int:
        """Return how many wait."""
        raise NotImplementedError

    def pop(self) -> T:
        """Take the next item, or raise ``IndexError``."""
        raise NotImplementedError

    def drain(self) -> list[T]:
        """Take all items, in order."""
        return [self.pop() for _ in range(len(self))]

    def check(self, key: Hashable, priority: float) -> None:
        """Raise unless an item can have these: any can."""

    @property
    def ready(self) -> bool:
        """Whether there is an item that may be taken."""
        return bool(len(self))

    def may_begin(self, key: Hashable) -> bool:  # noqa: ARG002
        """Tell whether an item of ``key`` may be out beside those that are: always."""
        return True

    def begin(self, key: Hashable) -> None:
        """Note that an item is out that was never in here."""

    def release(self, key: Hashable) -> None:
        """Note that an item that was out is done."""

    def before(self, line: Room[Any]) -> Room[Any]:
        """Return a room for those who wait for a place in this one: the line itself."""
        return line
