"""Where idle workers wait for an item, and which of them gets the next."""

from __future__ import annotations

from typing import Protocol

import trio


class Parking(Protocol):
    """Where the workers of one mailbox wait."""

    def receiver(self) -> trio.MemoryReceiveChannel[object]:
        """Return an end of a channel for one worker to park on, and to be closed by it alone."""
        ...

    def park(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Note that a worker is about to wait at ``place``."""
        ...

    def unpark(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Note that nobody waits there any more, without having been handed an item."""
        ...

    def hand(self, item: object) -> bool:
        """Give ``item`` to a worker that waits, if there is one."""
        ...


class InLine:
    """All wait at one channel: who has waited longest is next."""

    __slots__ = ("_receive", "_send")

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[object](0)

    def receiver(self) -> trio.MemoryReceiveChannel[object]:
        """Return another end of the channel."""
        return self._receive.clone()

    def park(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Nothing: the channel keeps the line."""

    def unpark(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Nothing, as above."""

    def hand(self, item: object) -> bool:
        """Give ``item`` to who has waited longest; one that leaves, and has not run since, no."""
        try:
            self._send.send_nowait(item)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True


class Stacked:
    """Each waits at a channel of its own: who came last is next, and the others rest longer."""

    __slots__ = ("_ends", "_stack")

    def __init__(self) -> None:
        self._ends: dict[trio.MemoryReceiveChannel[object], trio.MemorySendChannel[object]] = {}
        self._stack: dict[trio.MemoryReceiveChannel[object], None] = {}

    def receiver(self) -> trio.MemoryReceiveChannel[object]:
        """Return the end of a new channel."""
        send, receive = trio.open_memory_channel[object](0)
        self._ends[receive] = send
        return receive

    def park(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Put it on top."""
        self._stack[place] = None

    def unpark(self, place: trio.MemoryReceiveChannel[object]) -> None:
        """Take it out."""
        self._stack.pop(place, None)

    def hand(self, item: object) -> bool:
        """Give ``item`` to who came last; those that leave, and have not run since, get none."""
        while self._stack:
            place, _ = self._stack.popitem()
            try:
                self._ends[place].send_nowait(item)
            except trio.BrokenResourceError:
                del self._ends[place]
            except trio.WouldBlock:
                pass
            else:
                return True
        return False
