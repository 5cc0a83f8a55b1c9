"""What sits on the seats of a server: it runs the server's handlers, and sees to the state."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import trio

from poolder_trio.kernel.replies import PAIR, Info, Next, refuse_new_state, take_apart
from poolder_trio.kernel.shared_state import Look
from poolder_trio.kernel.transactions import reply_of, updated
from poolder_trio.policies.retry import Retry
from poolder_trio.verdicts import SAME, Continue, Directive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from poolder_trio.kernel.replies import Answer, Callback
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.kernel.transactions import Callbacks, Transactions


class StateWorker:
    """Runs the handlers of a server. Users do not see it: what they see is the server."""

    __slots__ = ("_callbacks", "_seat", "index", "name", "stack")

    retry = Retry()
    callbacks: Mapping[str, Callable[..., object]] = {}
    priority = "normal"
    hibernate_after = math.inf
    stack: AsyncExitStack

    def __init__(self, seat: Seat, callbacks: Callbacks) -> None:
        self.index, self.name = seat.index, seat.name
        self._seat = seat
        self._callbacks = callbacks

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def handle_init(self, **args: object) -> None:
        """Get ready."""

    async def handle_call(self, request: object, /) -> object:
        """Run the server's ``handle_call``."""
        return await self._run(self._callbacks.call, request)

    async def handle_job(self, message: object, /) -> object:
        """Run the handler of what somebody sent, or of what a handler wants to continue with."""
        if type(message) is Info:
            return await self._run(self._callbacks.info, message.message)
        if type(message) is Next:
            return await self._run(self._callbacks.next, message.arg)
        return await self._run(self._callbacks.cast, message)

    async def _run(self, callback: Callback, message: object) -> object:
        """Run a handler, and do what it returned; return the reply."""
        raise NotImplementedError

    def _done(self, answer: Answer) -> object:
        """Return the reply; see to what is to be done next."""
        if answer.next is not None:
            self._seat.follow_up(answer.next)
        return answer.reply

    async def handle_error(self, job: object, attempt: int, error: Exception, /) -> object:  # noqa: ARG002
        """Nothing: who waits for the job is told, and if nobody does it is a crash."""
        return None

    async def handle_hibernate(self) -> None:
        """Nothing: it does not hibernate."""

    async def handle_stop(self) -> None:
        """Nothing to clean up."""


class SharingWorker(StateWorker):
    """Its state is that of all workers of the server."""

    __slots__ = ("_transactions",)

    def __init__(self, seat: Seat, callbacks: Callbacks, transactions: Transactions) -> None:
        super().__init__(seat, callbacks)
        self._transactions = transactions

    async def handle_call(self, request: object, /) -> object:
        """Run the server's ``handle_call``."""
        callback, transactions = self._callbacks.call, self._transactions
        shared, turn = transactions.shared, transactions.turn
        if not shared.settled or turn.holder is not None:
            return self._done(await transactions.run(callback, request, self._seat))
        # Where nobody is in the way, a call that makes no new state needs none of the layers below.
        state, revision, epoch = shared.state, shared.revision, shared.epoch
        result: object
        if callback.overlaps:
            result = await callback.fn(request, state)
            if type(result) is tuple and len(result) == PAIR and result[1] is state:
                return result[0]
            look = Look(state, revision, epoch, None)
            tried = await transactions.judge_in_turn(callback, result, look, self._seat)
        else:
            turn.holder = self._seat
            try:
                result = await callback.fn(request, state)
                if type(result) is tuple and len(result) == PAIR and result[1] is state:
                    return result[0]
                tried = transactions.judge(callback, result, Look(state, revision, epoch, None))
            finally:
                turn.give()
        if await transactions.holds(tried, self._seat):
            return self._done(tried.answer)
        return self._done(await transactions.run(callback, request, self._seat, losses=1))

    async def _run(self, callback: Callback, message: object) -> object:
        return self._done(await self._transactions.run(callback, message, self._seat))


class OwningWorker(StateWorker):
    """Its state is its own, from the ``init`` that made it ready to the ``terminate`` at its end.

    Attributes:
        state: the state, when there is one.
    """

    __slots__ = ("_init", "_terminate", "state")

    def __init__(
        self,
        seat: Seat,
        callbacks: Callbacks,
        init: Callable[..., Awaitable[object]],
        terminate: Callable[[BaseException | None, Any], Awaitable[None]],
    ) -> None:
        super().__init__(seat, callbacks)
        self._init = init
        self._terminate = terminate
        self.state: object = None

    async def handle_init(self, **args: object) -> None:
        """Make a state."""
        first, after = first_state(await self._init(**args))
        self.state = first
        while after is not None:
            await trio.lowlevel.checkpoint()
            callback = self._callbacks.next
            after = self._apply(callback, await callback.fn(after.arg, self.state)).next

    async def handle_call(self, request: object, /) -> object:
        """Run the server's ``handle_call``."""
        callback, state = self._callbacks.call, self.state
        result = await callback.fn(request, state)
        if type(result) is tuple and len(result) == PAIR and result[1] is state:
            return result[0]
        return self._done(self._apply(callback, result))

    async def _run(self, callback: Callback, message: object) -> object:
        return self._done(self._apply(callback, await callback.fn(message, self.state)))

    def _apply(self, callback: Callback, result: object) -> Answer:
        answer = take_apart(result, callback)
        if answer.update is not None:
            state = updated(answer.update, self.state)
            answer.reply = reply_of(answer.update, state)
            self.state = state
        elif answer.state is not SAME:
            if callback.reads and answer.state is not self.state:
                raise refuse_new_state(callback)
            self.state = answer.state
        return answer

    async def handle_stop(self) -> None:
        """Let the server take its leave of this state."""
        # It is called from a ``finally``: what ended the worker is on its way.
        why = sys.exc_info()[1]
        await self._terminate(why, self.state)


def first_state(result: object) -> tuple[Any, Next | None]:
    """Return the first state, and what to continue with, of what ``init`` returned.

    Raises:
        TypeError: there is no state in it.
    """
    if isinstance(result, Continue):
        if result.state is SAME:
            message = f"Continue from init needs the first state, got {result!r}: give it state="
            raise TypeError(message)
        return result.state, Next(result.arg)
    if isinstance(result, Directive):
        message = f"init must return the first state, or Continue(arg, state=...), got {result!r}"
        raise TypeError(message)
    return result, None
