"""The receiving end of a memory channel, with a word to whoever fills it for each item taken."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Outlet(trio.abc.ReceiveChannel[T]):
    """A receive channel. Its filler has to bound what it puts in: nothing here waits for room.

    Args:
        taken: called with each item as it is received; it must not raise.
    """

    __slots__ = ("_broken", "_ended", "_receive", "_send", "_taken")

    def __init__(self, taken: Callable[[T], object]) -> None:
        self._send, self._receive = trio.open_memory_channel["T"](math.inf)
        self._taken = taken
        self._broken: str | None = None
        self._ended = False

    @trio.lowlevel.enable_ki_protection
    def put(self, item: T) -> None:
        """Add ``item``; nothing happens if the receiver has closed its end."""
        with contextlib.suppress(trio.BrokenResourceError):
            self._send.send_nowait(item)

    def end(self) -> None:
        """Let the channel end after what is in it."""
        self._ended = True
        self._send.close()

    def break_off(self, why: str) -> None:
        """Let the channel end after what is in it, for no good reason: who receives is told.

        Nothing happens if it has ended: whoever was woken by that may not have run yet.

        Args:
            why: the message of their `trio.BrokenResourceError`.
        """
        if not self._ended:
            self._broken = why
            self._send.close()

    def __len__(self) -> int:
        """Return how many wait to be received."""
        return self._receive.statistics().current_buffer_used

    def __bool__(self) -> bool:
        return True

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T:
        """Return the next item; wait for it.

        Raises:
            trio.EndOfChannel: there is none any more.
            trio.BrokenResourceError: what was to fill it has failed, or was cancelled.
            trio.ClosedResourceError: this end was closed.
        """
        try:
            item = await self._receive.receive()
        except trio.EndOfChannel:
            if self._broken is None:
                raise
            raise trio.BrokenResourceError(self._broken) from None
        self._taken(item)
        return item

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> T:
        """Return the next item.

        Raises:
            trio.WouldBlock: there is none yet; or the caller is cancelled, and its next checkpoint
                says so.
            trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError: as `receive`.
        """
        try:
            item = self._receive.receive_nowait()
        except trio.EndOfChannel:
            if self._broken is None:
                raise
            if trio.current_effective_deadline() == -math.inf:
                raise trio.WouldBlock from None
            raise trio.BrokenResourceError(self._broken) from None
        self._taken(item)
        return item

    def close(self) -> None:
        """Receive no more; what was not received is dropped."""
        self._receive.close()
        self._taken = _ignore  # whoever holds on to a closed end holds on to nothing else

    async def aclose(self) -> None:
        """As `close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


def _ignore(_: object) -> None:
    """Nothing comes any more."""
