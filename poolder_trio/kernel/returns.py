"""What comes back from a pool that answers in its own time: completions, bounded by places."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import attrs
import trio
import trio_util
from outcome import Error, Outcome

from poolder_trio.errors import QueueFull
from poolder_trio.kernel.failure import Failure
from poolder_trio.kernel.notes import describe, shown
from poolder_trio.kernel.outlet import Outlet
from poolder_trio.kernel.seat import unprotected

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import TypeAlias

    from outcome import Value

    from poolder_trio.kernel.job import Job

    _ReplyTo: TypeAlias = "trio.abc.SendChannel[Completion[Any]]"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(eq=False, repr=False)
class Ref:
    """Stands for one task that was added to an `AsyncPool`; its completion carries it.

    Attributes:
        number: counts the tasks of one opening, from 1, in the order in which they were offered.
    """

    number: int

    def __repr__(self) -> str:
        return f"<Ref {self.number}>"


def _failure(result: Outcome[object]) -> Failure[BaseException] | None:
    return Failure(result.error) if isinstance(result, Error) else None


@attrs.frozen
class Completion(Generic[T_co]):
    """What came of one task.

    Attributes:
        ref: what `AsyncPool.add_task` returned for it.
        outcome: ``outcome.Value`` with what the callback returned, or ``outcome.Error``.
    """

    ref: Ref
    outcome: Outcome[T_co]
    _failure: Failure[BaseException] | None = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: _failure(self.outcome), takes_self=True),
    )

    @property
    def value(self) -> T_co:
        """What the callback returned; raises what the task failed with. Read it at will."""
        # An outcome unwraps itself only once.
        if self._failure is None:
            return cast("Value[T_co]", self.outcome).value
        try:
            raise self._failure.another()
        finally:
            del self  # who keeps the error keeps this frame


class _Results(Outlet[Completion[T]]):
    """The channel of results. Whoever closes it wants none: their places are free again."""

    __slots__ = ("_closed", "_give_back")

    def __init__(self, taken: Callable[[Completion[T]], object]) -> None:
        super().__init__(taken)
        self._give_back = taken
        self._closed = False

    def put(self, item: Completion[T]) -> None:
        if self._closed:
            self._give_back(item)
        else:
            super().put(item)

    def close(self) -> None:
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self.receive_nowait()
        self._closed = True
        super().close()


@attrs.define(eq=False)
class _Line(Generic[T]):
    """Completions on their way to a receiver that has no room for them yet, in order."""

    reply_to: _ReplyTo
    waiting: deque[Completion[T]]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Returns(Generic[T]):
    """What comes back in one opening of a pool.

    Each task claims a place before it is sent; its place is free again when its completion was
    received. So the unread are bounded by what waits before it starts, and never by a worker.
    """

    def __init__(self, nursery: trio.Nursery, max_results: float, log: logging.Logger) -> None:
        self.results: _Results[T] = _Results(self.release)
        self._refs = map(Ref, itertools.count(1))
        self._nursery = nursery
        self._log = log
        self._max = max_results
        self._bounded = True
        self._places = trio.Semaphore(int(min(max_results, sys.maxsize)))
        self._lines: dict[int, _Line[T]] = {}
        self._undelivered = trio_util.AsyncValue(0)
        self._is_cut = False

    # -- places

    async def claim(self) -> None:
        """Take a place; wait for one, while there is a bound."""
        if self._bounded:
            await self._places.acquire()
        else:
            await trio.lowlevel.checkpoint()

    def claim_nowait(self) -> None:
        """Take a place, or raise `QueueFull`."""
        try:
            if self._bounded:
                self._places.acquire_nowait()
        except trio.WouldBlock:
            raise QueueFull(
                f"max_results={self._max} completions wait or are under way: "
                f"receive from results, or await add_task()"
            ) from None

    def release(self, _: object = None) -> None:
        """Give a place back."""
        self._places.release()

    def lift(self) -> None:
        """Let everybody have a place: there may be nobody left who reads."""
        self._bounded = False
        for _ in range(self._places.statistics().tasks_waiting):
            self._places.release()

    # -- completions

    def expect(self, reply_to: _ReplyTo | None) -> tuple[Ref, Callable[[Job[T]], None]]:
        """Return a handle for one task, and what is to be called with its job."""
        ref = next(self._refs)
        return ref, partial(self._follow, ref, reply_to)

    def _follow(self, ref: Ref, reply_to: _ReplyTo | None, job: Job[T]) -> None:
        if job.ended:
            self._ended(ref, reply_to, job)
        else:
            job.watch(self, partial(self._ended, ref, reply_to, job))

    def _ended(self, ref: Ref, reply_to: _ReplyTo | None, job: Job[T]) -> None:
        completion = Completion(ref, job.outcome())
        if reply_to is None:
            self.results.put(completion)
        elif id(reply_to) in self._lines:
            self._lines[id(reply_to)].waiting.append(completion)
        elif _sent_at_once(completion, reply_to):
            self.release()
        elif self._is_cut:
            self.results.put(completion)
        else:
            line = self._lines[id(reply_to)] = _Line(reply_to, deque([completion]))
            self._undelivered.value = len(self._lines)
            self._nursery.start_soon(self._deliver, line, name="poolder_trio reply")

    @trio.lowlevel.enable_ki_protection
    async def _deliver(self, line: _Line[T]) -> None:
        """Send what is in ``line``; what cannot be sent is a result like others."""
        try:
            with line.scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while line.waiting:
                    await unprotected(line.reply_to.send, line.waiting[0])
                    line.waiting.popleft()
                    self.release()
        except Exception:  # noqa: BLE001  # logged, and nothing is lost by it
            # One receiver's fault is not the others': its completions are results, below.
            self._log.exception(
                "reply_to=%s event=send-raised then=read-from-results",
                shown(describe(line.reply_to)),
            )
        finally:
            del self._lines[id(line.reply_to)]
            for completion in line.waiting:
                self.results.put(completion)
            self._undelivered.value = len(self._lines)

    async def delivered(self) -> None:
        """Wait until nothing is on its way to a receiver."""
        await self._undelivered.wait_value(0)

    def cut(self) -> None:
        """Wait for no receiver any more."""
        self._is_cut = True
        for line in self._lines.values():
            line.scope.cancel()

    async def end_after(self, ended: trio_util.AsyncValue[bool]) -> None:
        """End the results once there is no job and no delivery any more."""
        await ended.wait_value(True)  # noqa: FBT003
        await self.delivered()
        self.results.end()


def _sent_at_once(completion: Completion[Any], reply_to: _ReplyTo) -> bool:
    with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
        if isinstance(reply_to, trio.MemorySendChannel):
            reply_to.send_nowait(completion)
            return True
    return False
