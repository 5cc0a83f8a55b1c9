"""From a job to the mailbox of the worker that is to get it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import trio

from poolder_trio.errors import Closed
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
        next_box: all there is to routing, as in round robin and where there is one mailbox;
            ``None`` where there is more to it, or a look at each message is needed.
    """

    __slots__ = (
        "_crew",
        "_deal",
        "_dispatch",
        "_key",
        "_may_be_quick",
        "_seats",
        "_stale",
        "next_box",
    )

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
        self._seats: list[Seat] = []
        #: Deals out the mailboxes, where no look at the message or the loads is needed.
        self._deal: Callable[[], Mailbox] | None = None
        self.next_box: Callable[[], Mailbox] | None = None

    @trio.lowlevel.enable_ki_protection
    def changed(self) -> None:
        """Note that the live seats are others: look at them before the next job."""
        self._stale = True
        self._seats = []
        self.next_box = None

    @trio.lowlevel.enable_ki_protection
    def change(self, dispatch: Dispatch | None, key: Callable[..., Hashable] | None) -> None:
        """Ask another dispatch from the next job on."""
        self._dispatch, self._key, self._deal = dispatch, key, None
        self.changed()

    @trio.lowlevel.enable_ki_protection
    def shut(self) -> None:
        """Be quick no more: each job is to be looked at on its way in."""
        self._may_be_quick = False
        self.next_box = None

    @trio.lowlevel.disable_ki_protection
    def own_key(self, message: object) -> Hashable:
        """Return what the component's ``key`` makes of ``message``; ``None`` if it has none."""
        return None if self._key is None else self._key(message)

    @trio.lowlevel.enable_ki_protection
    def route(self, message: object, given: Hashable) -> Mailbox:
        """Pick a mailbox.

        Args:
            message: what is sent.
            given: the key that came with it, or ``None``.
        """
        if self._stale:
            self._refresh()
        return self._picked(message, given) if self._deal is None else self._deal()

    @trio.lowlevel.disable_ki_protection
    def _picked(self, message: object, given: Hashable) -> Mailbox:
        """Ask the dispatch."""
        assert self._dispatch is not None, "a broadcast is not routed"
        by_seat = getattr(self._dispatch, "by_seat", False)
        seats = self._seats if by_seat else self._crew.live
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

    @trio.lowlevel.enable_ki_protection
    def _refresh(self) -> None:
        if not self._crew.live and self._crew.family is not None:
            message = f"{self._crew.name} has no workers at this moment"
            raise Closed(message)
        # Without those that have never been ready: until they are, their keys stay where they are.
        self._seats = list(self._crew.seats)
        while self._seats and not self._seats[-1].opened:
            self._seats.pop()
        if self._crew.shared is not None:
            self._deal = itertools.repeat(self._crew.shared).__next__
        elif isinstance(self._dispatch, RoundRobin):
            self._deal = self._dispatch.deal(self.everyone()).__next__
        if self._may_be_quick:
            self.next_box = self._deal
        self._stale = False
