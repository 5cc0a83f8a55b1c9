"""Senders that wait for room, in the order in which the queue would start what they send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import outcome
import trio

from poolder_trio.kernel.job import Job
from poolder_trio.kernel.terms import SENT
from poolder_trio.kernel.waiters import parked

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.terms import Terms
    from poolder_trio.policies.queues import Room


@attrs.frozen
class Parcel:
    """An item on its way into a mailbox."""

    box: Mailbox
    item: object


def terms_of(item: object) -> Terms:
    """Return the terms of a job, or of a message that has no record."""
    return item.terms if type(item) is Job else SENT


class _Sender:
    """A task that waits, and what it sends, all at once."""

    __slots__ = ("parcels", "task")

    def __init__(self, task: trio.lowlevel.Task, parcels: list[Parcel]) -> None:
        self.task = task
        self.parcels = parcels


class Senders:
    """Who waits for room. The first of what each sends says when it is let in.

    Args:
        line: an empty room that knows who is next; see `Queue.before`.
        changed: called when one has begun to wait, or was aborted.
    """

    __slots__ = ("_changed", "_line")

    def __init__(self, line: Room[Any], changed: Callable[[], object]) -> None:
        self._line: Room[_Sender] = line
        self._changed = changed

    def __len__(self) -> int:
        return len(self._line)

    @property
    def ready(self) -> bool:
        """Whether there is one whose first item might start at once."""
        return self._line.ready

    async def park(self, parcels: list[Parcel]) -> bool:
        """Wait, and return what `wake` says."""
        sender: _Sender

        def enter(task: trio.lowlevel.Task) -> None:
            nonlocal sender
            sender = _Sender(task, parcels)
            terms = terms_of(parcels[0].item)
            self._line.restore(sender, 0, key=terms.key, priority=terms.priority)
            self._changed()

        def leave(_: trio.lowlevel.Task) -> bool:
            self._line.discard(sender)
            self._changed()
            return True

        return bool(await parked(enter, leave))

    @trio.lowlevel.enable_ki_protection
    def wake(self) -> list[Parcel]:
        """Let the next go on, for there is room; return what it sends."""
        sender = self._line.pop()
        trio.lowlevel.reschedule(sender.task, outcome.Value(True))  # noqa: FBT003
        return sender.parcels

    @trio.lowlevel.enable_ki_protection
    def turn_away(self) -> None:
        """Let all go on, with nothing sent."""
        for sender in self._line.drain():
            trio.lowlevel.reschedule(sender.task, outcome.Value(False))  # noqa: FBT003
