"""From a job to the mailbox of the worker that is to get it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import trio

from poolder_trio.policies.dispatch import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from poolder_trio.abc import Dispatch
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat


class Loads(Sequence[int]):
    """How much each seat has to do, as of the moment it is read."""

    __slots__ = ("_seats",)

    def __init__(self, seats: Sequence[Seat]) -> None:
        self._seats = seats

    def __len__(self) -> int:
        return len(self._seats)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [seat.load for seat in self._seats[index]]
        return self._seats[index].load


class Router:
    """Knows the live seats, and asks the dispatch for one of them.

    Attributes:
        boxes: the mailboxes among which the dispatch picks.
        quick: whether ``boxes[turn()]`` is all there is to routing, as in round robin and where
            there is one mailbox.
    """

    __slots__ = ("_crew", "_dispatch", "_key", "_may_be_quick", "_stale", "boxes", "quick", "turn")

    def __init__(
        self,
        crew: Crew,
        dispatch: Dispatch | None,
        key: Callable[..., Hashable] | None,
        *,
        may_be_quick: bool,
    ) -> None:
        self._crew = crew
        self._dispatch = dispatch
        self._key = key
        self._may_be_quick = may_be_quick
        self._stale = True
        self.boxes: list[Mailbox] = []
        self.quick = False
        self.turn: Callable[[], int] = itertools.repeat(0).__next__

    def changed(self) -> None:
        """Note that the live seats are others: look at them before the next job."""
        self._stale = True
        self.quick = False

    def shut(self) -> None:
        """Be quick no more: each job is to be looked at on its way in."""
        self._may_be_quick = self.quick = False

    def own_key(self, message: object) -> Hashable:
        """Return what the component's ``key`` makes of ``message``; ``None`` if it has none."""
        return None if self._key is None else self._key(message)

    @trio.lowlevel.disable_ki_protection
    def route(self, message: object, given: Hashable) -> Mailbox:
        """Pick a mailbox.

        Args:
            message: what is sent.
            given: the key that came with it, or ``None``.
        """
        if self._stale:
            self._refresh()
        if self._dispatch is None or isinstance(self._dispatch, RoundRobin):
            return self.boxes[self.turn()]
        by_seat = getattr(self._dispatch, "by_seat", False)
        seats = self._crew.seats if by_seat else self._crew.live
        now = trio.current_time()
        key = given
        if key is None:
            key = message if self._key is None else self._key(message)
        index = self._dispatch.pick(key, now, Loads(seats))
        if not isinstance(index, int) or not 0 <= index < len(seats):
            wrong = (
                f"pick must return an index from 0 to {len(seats) - 1}, "
                f"got {index!r} ({type(self._dispatch).__name__})"
            )
            raise ValueError(wrong)
        # Only a dispatch by seat can pick one that has ended: the next live one stands in for it.
        while not seats[index].alive:
            index = (index + 1) % len(seats)
        return seats[index].box

    def everyone(self) -> list[Mailbox]:
        """Return the mailboxes of all live seats, by index."""
        return [seat.box for seat in self._crew.live]

    def _refresh(self) -> None:
        self._stale = False
        shared = self._crew.shared
        self.boxes = self.everyone() if shared is None else [shared]
        if isinstance(self._dispatch, RoundRobin):
            self._dispatch.resize(len(self.boxes))
            self.turn = self._dispatch.turn
            self.quick = self._may_be_quick
        elif shared is not None:
            self.quick = self._may_be_quick
