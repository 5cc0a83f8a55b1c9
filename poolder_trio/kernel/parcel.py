"""A batch on its way, and the items in it that somebody waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import trio

from poolder_trio.errors import JobCancelled
from poolder_trio.kernel import aside
from poolder_trio.kernel.job import Job, Place, fill, record
from poolder_trio.kernel.terms import AWAITED, Terms
from poolder_trio.policies.window import Batch, BatchStream

if TYPE_CHECKING:
    from poolder_trio.kernel.batches import Batches
    from poolder_trio.kernel.job import Status
    from poolder_trio.kernel.mailbox import Mailbox


class Asked(Job[Any]):
    """An item whose caller waits for its result. Nobody else sees this record."""

    __slots__ = ("left",)

    def __init__(self, item: object, place: Place, terms: Terms = AWAITED) -> None:
        fill(self, item, place, terms)
        #: Whether the caller has gone: the result is nobody's.
        self.left = False

    @trio.lowlevel.enable_ki_protection
    def cancel_as(self, how: str) -> None:
        """End it as cancelled."""
        self.settle("cancelled", JobCancelled(f"the item was cancelled while it {how}"))


class InWindow:
    """Where an item is whose window has not become a batch."""

    __slots__ = ("_crew",)

    status: ClassVar[Status] = "waiting"

    def __init__(self, crew: Batches) -> None:
        self._crew = crew

    @property
    def box(self) -> Mailbox:
        """The mailbox of the workers that serve it."""
        return self._crew.room

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the item."""
        self._crew.windows.discard(job, key=job.terms.key)
        assert isinstance(job, Asked)
        self._crew.ended_waiting(job, "waited")
        return True


_GONE: Final = object()


class Parcel(Batch[Any]):
    """A batch, as its handler gets it, with what is known about its items.

    Attributes:
        job: the record of its tries.
        asked: at each position the record of the item's caller, if there is one.
    """

    __slots__ = ("_crew", "_gaps", "_indexed", "_newest_first", "_places", "asked", "job")

    status: ClassVar[Status] = "waiting"

    def __init__(
        self, crew: Batches, batch: Batch[object], *, reverse: bool, indexed: bool
    ) -> None:
        self._crew = crew
        self._gaps = 0
        #: Where each caller's item is, from the first time that one leaves.
        self._places: dict[int, int] | None = None
        self._indexed = indexed
        self._newest_first = reverse
        items: list[Any] = batch
        records: list[Asked | None] = []
        if crew.was_asked:
            # One look at each: a call to ask would cost as much as the rest.
            items = [each.message if type(each) is Asked else each for each in batch]
            records = [each if type(each) is Asked else None for each in batch]
        numbered: list[Any] = list(enumerate(items)) if indexed else items
        if reverse:
            numbered.reverse()
            records.reverse()
        super().__init__(numbered, batch.reason, batch.key)
        self.asked: list[Asked | None] | None = records if any(records) else None
        for asked in self.callers:
            asked.place = self
        self.job: Job[object] = record(self, crew.room)

    @property
    def box(self) -> Mailbox:
        """The mailbox of the workers that serve it."""
        return self._crew.room

    @property
    def callers(self) -> list[Asked]:
        """Those who get a result, or an error in its place, gone ones included."""
        return [] if self.asked is None else [asked for asked in self.asked if asked is not None]

    @property
    def items(self) -> list[object]:
        """The items, without their indices."""
        self._sweep()
        return [item for _, item in self] if self._indexed else list(self)

    def hand_out(self, *, stream: bool = False) -> Batch[Any] | BatchStream[Any]:
        """Return what a handler may do with as it likes: each try gets its own."""
        self._sweep()
        batch: Batch[Any] = Batch(self, self.reason, self.key)
        return BatchStream(batch) if stream else batch

    @property
    def oldest(self) -> int:
        """The position of the item that came first."""
        self._sweep()
        return len(self) - 1 if self._newest_first else 0

    def remove_at(self, position: int) -> object:
        """Take one entry out of a batch that waits; one that is empty by that is withdrawn."""
        self._sweep()
        asked = None if self.asked is None else self.asked.pop(position)
        element = self.pop(position)
        item = element[1] if self._indexed else element
        self._crew.sealed -= 1
        if not self and self.job.place is not None:
            self.job.place.withdraw(self.job)
        return item if asked is None else asked

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the item if it waits. If its batch runs, that goes on, and its result is nobody's."""
        asked = cast("Asked", job)
        if self.job.status == "running":
            asked.left = True
        else:
            how = "backed off" if self.job.attempt else "waited"
            self._leaves(asked)
            self._crew.ended_waiting(asked, how)
        return True

    def _leaves(self, asked: Asked) -> None:
        """Leave a gap where an item was: to close each would move all that follow."""
        assert self.asked is not None
        if self._places is None:
            self._places = {id(each): place for place, each in enumerate(self.asked)}
        place = self._places.pop(id(asked))
        self[place], self.asked[place] = _GONE, None
        self._gaps += 1
        self._crew.sealed -= 1
        if not len(self) and self.job.place is not None:
            self.job.place.withdraw(self.job)

    def _sweep(self) -> None:
        """Close the gaps, before anybody looks at positions."""
        if not self._gaps:
            return
        kept = [place for place, element in enumerate(self) if element is not _GONE]
        if self.asked is not None:
            self.asked = [self.asked[place] for place in kept]
        self[:] = [self[place] for place in kept]
        self._gaps, self._places = 0, None

    def __len__(self) -> int:
        return super().__len__() - self._gaps

    def keep_only(self, wanted: tuple[object, ...]) -> list[Asked]:
        """Let all other items go, and return the records of those.

        Raises:
            ValueError: one of those wanted is not in here.
        """
        self._sweep()
        kept: set[int] = set()
        by_identity = {id(element): position for position, element in enumerate(self)}
        for element in wanted:
            position = by_identity.pop(id(element), None)
            if position is None or position in kept:
                left = (n for n, mine in enumerate(self) if n not in kept and mine == element)
                position = next(left, None)
            if position is None:
                message = f"only must have items of the batch, got {element!r}, which is not in it"
                raise ValueError(message)
            kept.add(position)
        gone = [n for n in range(len(self)) if n not in kept]
        done = [asked for n in gone if self.asked and (asked := self.asked[n]) is not None]
        if self.asked is not None:
            self.asked = [asked for n, asked in enumerate(self.asked) if n in kept]
        self[:] = [element for n, element in enumerate(self) if n in kept]
        return done
