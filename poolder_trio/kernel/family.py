"""The components of one opening of an application: opened in order, closed in reverse."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import trio
import trio_util

from poolder_trio.errors import Closed
from poolder_trio.kernel.accounts import Statistics, Tally
from poolder_trio.kernel.notes import add_note, shown

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack
    from logging import Logger
    from types import TracebackType

    from poolder_trio.kernel.accounts import ShutdownReport
    from poolder_trio.kernel.service import Service


class Family:
    """What runs the children of an application: each child's block is inside those before it.

    So a child may use those before it for as long as it lives, and an error or a cancellation ends
    the last one first.

    Args:
        title: what the application is called.
        log: where it says what happens.
        refuse: raises if a handler of a child asks to wait for it, as `refuse_own_wait` does.
        opening_of: returns what is another as soon as an opening of a component has begun.
    """

    def __init__(
        self,
        title: str,
        log: Logger,
        refuse: Callable[[str], None],
        opening_of: Callable[[Service], object],
    ) -> None:
        self.title = title
        self.log = log
        #: Nothing is counted here, but by the children: see `total`.
        self.tally = Tally()
        self._refuse = refuse
        self._opening_of = opening_of
        self.ended = trio_util.AsyncValue(False)  # noqa: FBT003  # its argument has no name
        #: Those that were opened, or whose opening has begun, in that order.
        self.members: dict[str, Service] = {}
        #: Set when the end begins for the children: when it is closed, or when they have ended.
        self.told = trio.Event()
        #: The reports of those that have ended, which may be opened elsewhere from then on.
        self._final: dict[str, ShutdownReport[object]] = {}
        self._before: dict[str, tuple[int, int]] | None = None
        self._scope = trio.CancelScope()

    async def open(
        self,
        children: Sequence[tuple[str, Service]],
        stack: AsyncExitStack,
        is_enough: Callable[[], bool],
    ) -> None:
        """Open the children, each inside of the one before, until ``is_enough``."""
        stack.callback(self._finish)
        stack.push(_unwrap)
        nursery = await stack.enter_async_context(trio.open_nursery())
        self._scope = nursery.cancel_scope
        # A task that waits, not one that is started when it is time: whoever closes may be a
        # handler, and a task that a handler starts must not wait for the handler's component.
        nursery.start_soon(self._close_in_reverse, name=f"{self.title}: closing")
        stack.callback(self.told.set)
        for name, child in children:
            if is_enough():
                self._tell(name, "not-opened")
                continue
            self.members[name] = child
            stack.callback(self._keep_report, name)
            before = self._opening_of(child)
            try:
                await stack.enter_async_context(child)
            except Exception as error:
                if self._opening_of(child) == before:
                    # Its opening did not begin: it is open elsewhere, or its name is taken. What
                    # it counts is not of this opening, and it is not for us to close it.
                    del self.members[name]
                add_note(error, f"while {name!r}, a child of {self.title}, was opened")
                raise
            self._tell(name, "opened")

    def leave(self, grace: float) -> None:
        """Give what remains ``grace`` seconds, from now on."""
        self._stopping()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + grace)

    # -- what Service asks of an engine

    def total(self) -> Tally:
        """Return the final counts of all children together."""
        total = Tally()
        for report in self.reports().values():
            total.completed += report.completed
            total.failed += report.failed
            total.cancelled += report.cancelled
            total.dropped += report.dropped
            total.abandoned += report.abandoned
        return total

    def statistics(self) -> Statistics:
        """Return the counts of this moment, of all children together."""
        each = [child.statistics() for _, child in self._live()]
        return self.total().statistics(
            sum(counts.running for counts in each), sum(counts.waiting for counts in each)
        )

    def unseen(self) -> Sequence[Exception]:
        """Return nothing: failures that nobody has looked at leave the block of their child."""
        return ()

    def pause(self) -> None:
        """Start no more work in any child."""
        self._tell_all(lambda child: child.pause())

    def resume(self) -> None:
        """Start work again, in all of them."""
        self._tell_all(lambda child: child.resume())

    def close(self) -> None:
        """Close the last child at once, and each other one when those after it have ended.

        None of them stays paused: what those after it have accepted may need it.
        """
        self._stopping()
        self.resume()
        self.told.set()
        for _, child in self._live()[-1:]:
            child.close()

    def cancel(self) -> None:
        """Cancel all children, the last one first."""
        self._stopping()
        for _, child in reversed(self._live()):
            child.cancel()

    def refuse_own_wait(self, what: str) -> None:
        """Raise ``RuntimeError`` if a handler of one of the children asks."""
        self._refuse(what)

    async def wait_idle(self) -> None:
        """Wait until no child has anything to do, and none has given another anything to do."""
        submitted = -1
        while submitted != (now := self.statistics().submitted):
            submitted = now
            await trio.lowlevel.checkpoint()
            for _, child in self._live():
                await child.wait_idle()

    # -- the end

    def reports(self) -> dict[str, ShutdownReport[object]]:
        """Return what became of the jobs of each child."""
        return {name: self._final.get(name) or child.report for name, child in self.members.items()}

    def has_cut(self) -> bool:
        """Tell whether jobs were cancelled or abandoned since the stop began."""
        if self._before is None and not self.ended.value:
            return False
        before = self._before or {}
        return any(
            (report.cancelled, len(report.abandoned)) != before.get(name, (0, 0))
            for name, report in self.reports().items()
        )

    def _stopping(self) -> None:
        if self._before is None:
            self._before = {
                name: (report.cancelled, len(report.abandoned))
                for name, report in self.reports().items()
            }

    def _live(self) -> list[tuple[str, Service]]:
        return [(name, child) for name, child in self.members.items() if name not in self._final]

    def _tell(self, name: str, event: str) -> None:
        title, child = shown(self.title), shown(name)
        self.log.info("application=%s child=%s event=%s", title, child, event)

    def _keep_report(self, name: str) -> None:
        if name in self.members:
            self._final[name] = self.members[name].report

    def _tell_all(self, act: Callable[[Service], None]) -> None:
        for _, child in self._live():
            with contextlib.suppress(Closed):  # it may have ended by itself
                act(child)

    async def _close_in_reverse(self) -> None:
        await self.told.wait()
        for name, child in reversed(tuple(self.members.items())):
            if name not in self._final:
                child.close()
                await child.wait_closed()
            self._tell(name, "closed")
        self.ended.value = True

    def _finish(self) -> None:
        self.ended.value = True


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Return the group that is alone in a group that is alone in a group, and so on."""
    while len(group.exceptions) == 1 and not getattr(group, "__notes__", ()):
        (inner,) = group.exceptions
        if not isinstance(inner, BaseExceptionGroup):
            break
        group = inner
    return group


def _unwrap(
    exc_type: type[BaseException] | None,  # noqa: ARG001
    exc: BaseException | None,
    traceback: TracebackType | None,  # noqa: ARG001
) -> None:
    """Let an error leave in one group, however many children's blocks it left on its way."""
    if isinstance(exc, BaseExceptionGroup) and (inner := unwrapped(exc)) is not exc:
        raise inner from inner.__cause__
