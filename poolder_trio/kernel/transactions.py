"""Handlers and one state: each is run on the state, and what it makes of that is atomic."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import trio

from poolder_trio.kernel.replies import Answer, Callback, refuse_new_state, take_apart
from poolder_trio.kernel.turn import Turn
from poolder_trio.verdicts import SAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.kernel.shared_state import Group, Look, SharedState
    from poolder_trio.verdicts import Update

#: How often a handler may lose against others before it takes the lock.
LOSSES = 5


class Callbacks:
    """The handlers of one opening of a server.

    Attributes:
        losses: how often one that overlaps with others may lose before it takes the lock.
    """

    __slots__ = ("call", "cast", "info", "losses", "next")

    def __init__(self, owner: object, *, optimistic: bool) -> None:
        self.call, self.cast, self.info, self.next = (
            Callback.of(owner, name, optimistic=optimistic)
            for name in ("handle_call", "handle_cast", "handle_info", "handle_continue")
        )
        self.losses = LOSSES if optimistic else 1


class Try:
    """What came of running a handler once.

    Attributes:
        answer: what it returned.
        look: what it saw.
        group: what its new state is stored with; ``None``: it made none, or it has lost.
        lost: whether its new state was of an old one.
    """

    __slots__ = ("answer", "group", "look", "lost")

    def __init__(self, answer: Answer, look: Look[Any], group: Group | None, *, lost: bool) -> None:
        self.answer = answer
        self.look = look
        self.group = group
        self.lost = lost


class Transactions:
    """Runs handlers, each as often as it takes.

    Whoever changes the state has the turn at that moment. A handler that has it from the moment
    when it looks loses against nobody in this process.
    """

    __slots__ = ("_losses", "shared", "turn")

    def __init__(self, shared: SharedState[Any], losses: int) -> None:
        self.shared = shared
        self.turn = Turn()
        self._losses = losses

    async def run(
        self, callback: Callback, message: object, who: object, losses: int = 0
    ) -> Answer:
        """Run a handler until what it made of the state holds, and return its answer.

        Args:
            callback: the handler.
            message: what it is given, beside the state.
            who: for whom it holds the turn.
            losses: how often it has lost before.
        """
        most = math.inf if callback.reads else self._losses
        while True:
            locks = not callback.overlaps or losses >= most
            tried = await (self._alone if locks else self._beside)(callback, message, who)
            if await self.holds(tried, who):
                return tried.answer
            losses += 1

    async def _alone(self, callback: Callback, message: object, who: object) -> Try:
        await self.turn.take(who)
        try:
            look = await self.shared.look()
            return self.judge(callback, await self._run(callback, message, look), look)
        finally:
            self.turn.give()

    async def _beside(self, callback: Callback, message: object, who: object) -> Try:
        look = await self.shared.look()
        return await self.judge_in_turn(
            callback, await self._run(callback, message, look), look, who
        )

    async def _run(self, callback: Callback, message: object, look: Look[Any]) -> object:
        returned = False
        try:
            result = await callback.fn(message, look.state)
            returned = True
        finally:
            if not returned:
                self.shared.was_changed_in_place(look)  # who failed has changed nothing
        return result

    async def judge_in_turn(
        self, callback: Callback, result: object, look: Look[Any], who: object
    ) -> Try:
        """Do as `judge` for who has not got the turn."""
        # One that has it has had losses enough: it is not to lose by this.
        await self.turn.take(who)
        try:
            return self.judge(callback, result, look)
        finally:
            self.turn.give()

    def judge(self, callback: Callback, result: object, look: Look[Any]) -> Try:
        """Propose what a handler returned. Who has the turn calls this, and `holds` at once."""
        answer = take_apart(result, callback)
        if answer.update is not None or answer.state is SAME or answer.state is look.state:
            self.shared.require_unchanged(look, callback.name)
            return Try(answer, look, None, lost=False)
        if callback.reads:
            raise refuse_new_state(callback)
        group = self.shared.propose(look, answer.state)
        return Try(answer, look, group, lost=group is None)

    async def holds(self, tried: Try, who: object) -> bool:
        """Wait until what was tried is stored, and tell whether it holds."""
        if tried.answer.update is not None:
            tried.answer.reply = await self._apply(tried.answer.update, who)
            return True
        if tried.group is not None:
            return await self.shared.confirm(tried.group)
        return not tried.lost and await self.shared.holds(tried.look)

    async def _apply(self, update: Update[Any, object], who: object) -> object:
        """Apply an update to whatever the state is, and return its reply."""
        while True:
            await self.turn.take(who)
            try:
                look = await self.shared.look()
                state = updated(update, look.state)
                reply = reply_of(update, state)
                same = state is look.state
                if same:
                    self.shared.require_unchanged(look, "an Update")
                # What may raise is behind: a change that is made is confirmed at once.
                group = None if same else self.shared.propose(look, state)
            finally:
                self.turn.give()
            if group is not None:
                done = await self.shared.confirm(group)
            else:
                done = same and await self.shared.holds(look)
            if done:
                return reply


@trio.lowlevel.disable_ki_protection
def updated(update: Update[Any, object], state: object) -> object:
    """Return the state that ``update`` makes of ``state``."""
    new = update.fn(state)
    if inspect.iscoroutine(new):
        new.close()
        message = f"Update takes a plain function of the state, got {update.fn!r}"
        raise TypeError(message)
    return new


@trio.lowlevel.disable_ki_protection
def reply_of(update: Update[Any, object], state: object) -> object:
    """Return the reply to whose handler asked for ``update``."""
    reply: object = update.reply
    make: Callable[[object], object] | None = reply if callable(reply) else None
    return reply if make is None else make(state)
