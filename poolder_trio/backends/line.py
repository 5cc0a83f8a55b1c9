"""Calls that wait for one who serves them all, in the order in which they came."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, cast

import attrs
import outcome
import trio

from poolder_trio.errors import Closed
from poolder_trio.kernel.blocks import block
from poolder_trio.kernel.shared_state import PATIENCE
from poolder_trio.kernel.waiters import parked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

#: Of a load: the bytes and their version, 0 if there are none. Of a store: whether it was done.
Answer = tuple[bytes, int] | bool


@attrs.define(eq=False)
class Ask:
    """A call: to store ``data`` over the version ``expected``, or to load if that is ``None``.

    Attributes:
        since: when it began to wait, by the clock of its line.
        task: who waits; ``None``: nobody any more.
    """

    expected: int | None = None
    data: bytes = b""
    since: float = 0.0
    task: trio.lowlevel.Task | None = None


def settle(data: bytes, version: int, asks: Sequence[Ask]) -> tuple[list[Answer], bytes, int]:
    """Return the answers to ``asks`` in this order, and the bytes and version after them.

    Whoever keeps them calls it while nobody else can change them, and writes what it returns in
    one go: of stores each of which expects what the one before makes, only the last is written.
    """
    answers: list[Answer] = []
    for ask in asks:
        if ask.expected is None:
            answers.append((data, version))
        elif ask.expected == version:
            data, version = ask.data, version + 1
            answers.append(True)
        else:
            answers.append(False)
    return answers, data, version


class Line:
    """Where calls wait. A store that is cancelled leaves, until it is taken; then it is answered.

    Args:
        where: what is asked of, for messages.
        clock: the clock by which what serves it is bounded, in seconds.
    """

    #: Seconds within which a call is answered, from when it began to wait: a cancelled one as well.
    PATIENCE: ClassVar[float] = PATIENCE

    def __init__(self, where: str, clock: Callable[[], float]) -> None:
        self.where = where
        self._clock = clock
        self._waiting: dict[Ask, None] = {}
        self._attendant = trio.lowlevel.ParkingLot()
        self._closed = False

    @trio.lowlevel.enable_ki_protection
    async def ask(self, ask: Ask) -> Answer:
        """Wait for the answer, and return it or raise the error that it is."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise self._refusal()

        def enter(task: trio.lowlevel.Task) -> None:
            ask.task, ask.since = task, self._clock()
            self._waiting[ask] = None
            self._attendant.unpark()

        def leave(_: trio.lowlevel.Task) -> bool:
            # A store that is taken may be done already, and soon is or is not: who asked has to
            # know. A load is of no use to who is cancelled.
            if ask not in self._waiting and ask.expected is not None:
                return False
            self._waiting.pop(ask, None)
            ask.task = None
            return True

        return cast("Answer", await parked(enter, leave))

    async def some(self) -> bool:
        """Wait until a call waits; return ``False`` when the line is closed and none ever will."""
        while not (self._waiting or self._closed):
            await self._attendant.park()
        return not self._closed

    @trio.lowlevel.enable_ki_protection
    def take(self, most: float = math.inf, most_bytes: float = math.inf) -> list[Ask]:
        """Take those that wait, in order: the first, and more up to ``most`` and ``most_bytes``."""
        taken: list[Ask] = []
        size = 0
        for ask in self._waiting:
            size += len(ask.data)
            if taken and (len(taken) >= most or size > most_bytes):
                break
            taken.append(ask)
        for ask in taken:
            del self._waiting[ask]
        return taken

    def left(self, asks: Iterable[Ask] | None = None) -> float:
        """Return the seconds left for the first of ``asks``; of those that wait, if not given.

        What they have waited in line, and for others, counts: the patience is one total.
        """
        first = next(iter(self._waiting if asks is None else asks), None)
        waited = 0.0 if first is None else self._clock() - first.since
        return max(0.0, self.PATIENCE - waited)

    @trio.lowlevel.enable_ki_protection
    def take_overdue(self) -> list[Ask]:
        """Take those that have waited for too long."""
        now = self._clock()
        taken = [ask for ask in self._waiting if now - ask.since >= self.PATIENCE]
        for ask in taken:
            del self._waiting[ask]
        return taken

    @trio.lowlevel.enable_ki_protection
    def answer(self, asks: Sequence[Ask], answers: Sequence[Answer]) -> None:
        """Give each call that was taken its answer."""
        for ask, answer in zip(asks, answers, strict=True):
            if ask.task is not None:
                trio.lowlevel.reschedule(ask.task, outcome.Value(answer))

    @trio.lowlevel.enable_ki_protection
    def fail(self, asks: Sequence[Ask], error: Callable[[], Exception]) -> None:
        """Make each call that was taken raise an ``error()`` of its own."""
        for ask in asks:
            if ask.task is not None:
                trio.lowlevel.reschedule(ask.task, outcome.Error(error()))

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Refuse those that wait, and all that come."""
        self._closed = True
        self.fail(self.take(), self._refusal)
        self._attendant.unpark_all()

    def _refusal(self) -> Closed:
        return Closed(f"{self.where} is closed: the block that opened it was left")


@block
async def attended(line: Line, attend: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Run ``attend`` beside the block until ``line`` is closed, which leaving the block does.

    It is shielded, so that a block that is cancelled can still store what it must, and has
    nothing to wait for that has no end: a call by its deadline, a new one by `Line.close`.
    """
    ended = trio.Event()

    async def run() -> None:
        try:
            with trio.CancelScope(shield=True):
                await attend()
        finally:
            line.close()
            ended.set()

    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    nursery.start_soon(run)
    try:
        yield
    finally:
        line.close()
        with trio.CancelScope(shield=True):
            await ended.wait()
        # What the block raises is its own, and goes on as it is: it is no nursery's, to be grouped.
        await manager.__aexit__(None, None, None)
