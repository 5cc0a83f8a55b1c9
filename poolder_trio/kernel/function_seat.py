"""A seat for functions: those that nothing looks at run back to back, with no call in between."""

from __future__ import annotations

from contextvars import Context
from time import perf_counter
from typing import TYPE_CHECKING, cast

import trio

from poolder_trio.kernel.contexts import refers_to
from poolder_trio.kernel.crew import Crew
from poolder_trio.kernel.seat import Seat
from poolder_trio.kernel.terms import ONE, SENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from poolder_trio.kernel.runner import Runner

_NOWHERE = Context()


class FunctionSeat(Seat):
    """A seat whose worker is a `Runner`: all that comes to it are records of functions."""

    __slots__ = ()

    @trio.lowlevel.enable_ki_protection
    async def _burst(self) -> None:  # noqa: C901, PLR0912, PLR0915  # one loop: a call costs as much as a job
        crew = self.crew
        runner = cast("Runner", self.worker)
        looked_at = crew.clocked or crew.keyed or crew.ledger.instruments is not None
        if looked_at or runner.executor is not None:
            await super()._burst()
            return
        box, tally = self.box, crew.tally
        # As long as jobs have the same terms, and nobody has set a variable, they run where the
        # last one ran. These are set when that is not so.
        terms, ended, current, size, variables = SENT, SENT, _NOWHERE, 0, None
        invoke: Callable[[Any, Any], Awaitable[object]] = _call_with_all
        reply: object = None
        failed = failure = None
        item: Any = self.item
        pace = self._pace
        stride = left = pace.begin(perf_counter(), self._share / crew.awake)
        try:
            while True:
                self.item, item.place = item, self
                item.attempt += 1
                try:
                    if (
                        item.terms is not terms
                        or len(current) != size
                        or (variables is not None and refers_to(current)[-1] is not variables)
                    ):
                        terms = item.terms
                        ended = terms.ended
                        invoke = _call_with_one if terms.form is ONE else _call_with_all
                        if runner.is_away(terms.context):
                            await runner.enter(terms.context)
                        current, size, variables = runner.context, runner.size, runner.variables
                    reply = await invoke(item.message, item.given)
                except Exception as error:
                    if self._cut is not None:
                        raise
                    failure = error
                else:
                    tally.completed += 1
                    # What `Job.complete` does.
                    item.place = None
                    item.terms = ended
                    item.ending = "done"
                    item.value = reply
                    if item.waits is not None:
                        item.tell()
                if failure is not None:
                    failed, failure = failure, None
                    await self._run(item, failed)
                    failed, self.busy, terms = None, True, SENT
                if self.signal:
                    break
                left -= 1
                if not left:
                    stride = left = pace.next_stride(stride, perf_counter())
                    if not left:
                        break
                try:
                    item = box.take()
                except IndexError:
                    break
            self.busy = False
        finally:
            # Who keeps an error keeps this frame, but nothing of what ran here.
            item = reply = failed = variables = None
            terms, current = SENT, _NOWHERE
        if not left:
            await trio.lowlevel.checkpoint()


class FunctionCrew(Crew):
    """A crew that runs functions."""

    SEAT = FunctionSeat


# A frame for each call, as Ctrl-C must find user code: interruptible, and the loop above is not.
@trio.lowlevel.disable_ki_protection
async def _call_with_one(fn: Callable[[Any], Awaitable[object]], given: Any) -> object:  # noqa: ANN401
    return await fn(given)


@trio.lowlevel.disable_ki_protection
async def _call_with_all(fn: Callable[..., Awaitable[object]], given: Any) -> object:  # noqa: ANN401
    return await fn(*given)
