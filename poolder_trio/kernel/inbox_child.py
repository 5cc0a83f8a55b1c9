"""A child of a group that is a plain async function: it receives requests from an inbox."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from trio.abc import ReceiveChannel

from poolder_trio.errors import WorkerCrashed
from poolder_trio.kernel.interruption import interruption
from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.seat import Cut
from poolder_trio.policies.retry import Retry

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from poolder_trio.kernel.seat import Seat

M = TypeVar("M")
R = TypeVar("R")

_UNANSWERED: Any = object()


class Request(Generic[M, R]):
    """A message to a function that is a child of a `FactoryPool`, and the way to answer it.

    Attributes:
        message: what was sent.
        called: whether somebody waits for the reply; if not, it was cast.
    """

    __slots__ = ("_done", "_reply", "called", "message")

    def __init__(self, message: M, *, called: bool) -> None:
        self.message = message
        self.called = called
        self._reply: R = _UNANSWERED
        self._done = trio.Event()

    @property
    def answered(self) -> bool:
        """Whether `reply` was called."""
        return self._reply is not _UNANSWERED

    @property
    def answer(self) -> R:
        """What it was called with."""
        return self._reply

    def __repr__(self) -> str:
        return f"<Request {self.message!r}{', called' if self.called else ''}>"

    def reply(self, value: R) -> None:
        """Answer with ``value``, without waiting. It goes to this request's caller and to no other.

        Nothing happens if the message was cast, or its caller has left.

        Raises:
            RuntimeError: it was answered before.
        """
        if self.answered:
            message = f"{self!r} was answered already: a call has one reply"
            raise RuntimeError(message)
        self._reply = value
        if self.called:
            self._done.set()

    def finish(self) -> None:
        """Let go of whoever sent it; called when the function is done with it."""
        self._done.set()

    async def wait(self) -> None:
        """Wait until there is a reply, or no more to wait for."""
        await self._done.wait()


class Inbox(ReceiveChannel[Request[M, R]]):
    """Where a function receives its requests, one after the other. It ends when the child does."""

    def __init__(self, child: InboxChild) -> None:
        self._child = child

    async def receive(self) -> Request[M, R]:
        """Return the next request. To ask for it says that a message that was cast is handled.

        Raises:
            trio.EndOfChannel: there will be no more.
        """
        self._child.asks()
        request = await self._child.channel.receive()
        self._child.request = request
        return request

    async def aclose(self) -> None:
        """Receive no more: the child ends when its function does."""
        self._child.turns_away()
        await trio.lowlevel.checkpoint()


class _NotTaken(Exception):
    """The job in hand is not in hand any more."""


class InboxChild:
    """Sits on a seat and passes what comes there to a function, one message at a time.

    A message is in hand until the function has answered it, if it was a call, or asks for the
    next one. One that the function did not take before it ended is another's.

    Attributes:
        request: what the function has received, until it asks for the next.
    """

    retry = Retry()
    callbacks: Mapping[str, Callable[..., object]] = {}
    priority = "normal"
    hibernate_after = math.inf
    stack: AsyncExitStack

    def __init__(self, seat: Seat, fn: Callable[..., Awaitable[object]]) -> None:
        self.index, self.name = seat.index, seat.name
        self.request: Request[Any, Any] | None = None
        self._seat = seat
        self._fn = fn
        self._send, self.channel = trio.open_memory_channel[Request[Any, Any]](0)
        self._open = True
        self._ended = trio.Event()
        self._error: Exception | None = None

    async def handle_init(self, **args: object) -> None:
        """Start the function."""
        self.stack.push(self._leave)
        nursery = await self.stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(self._run, args, name=self._fn)

    async def _run(self, args: Mapping[str, object]) -> None:
        self._seat.home_is(trio.lowlevel.current_task())
        try:
            await self._fn(Inbox[Any, Any](self), **args)
        except Exception as error:  # noqa: BLE001  # `_raise`, or the cast in hand, raises it
            self._error = error
        finally:
            if interruption(sys.exc_info()[1]) is None:
                self._end()
            else:
                self._ended.set()  # the nursery cancels the message in hand: it has not ended so

    def _raise(self) -> None:
        """Raise what the function has raised, unless that was done before."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _leave(self, _: object, exc: BaseException | None, __: object) -> None:
        """Let out what ended this child as it is: the nursery has put it into a group."""
        self._raise()
        if isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            (error,) = exc.exceptions
            context = error.__context__
            try:
                raise error
            finally:
                error.__context__ = context

    @trio.lowlevel.enable_ki_protection
    def _end(self) -> None:
        self._ended.set()
        self.asks()
        self.turns_away()
        # What crashed may be replaced: that is for the rule to say.
        if self._error is None and not self._seat.dismissed:
            self._seat.crew.exits(self._seat)

    @trio.lowlevel.enable_ki_protection
    def asks(self) -> None:
        """Note that the function is done with the last message, or ends."""
        request = self.request
        if request is not None and (not request.called or self._ended.is_set()):
            request.finish()

    @trio.lowlevel.enable_ki_protection
    def turns_away(self) -> None:
        """Take no more from the seat, because the function receives no more."""
        if not self._open:
            return
        self._open = False
        self.channel.close()
        seat = self._seat
        seat.leaving = seat.signal = True
        seat.let_look()
        if seat.parked:
            seat.cut(Cut.CANCEL)

    async def handle_job(self, message: object, /) -> object:
        """Pass a message on, and wait until the function asks for another."""
        await self._pass_on(message, called=False)
        self._raise()
        return None

    async def handle_call(self, message: object, /) -> object:
        """Pass a message on, and wait for the reply."""
        request = await self._pass_on(message, called=True)
        if not request.answered:
            ended = f"{self.name} ended without an answer to {describe(message)}"
            raise WorkerCrashed(ended) from self._error
        return request.answer

    async def _pass_on(self, message: object, *, called: bool) -> Request[Any, Any]:
        """Return the request when the function is done with it."""
        request: Request[Any, Any] = Request(message, called=called)
        try:
            # An inbox that closes cuts the worker on its seat, at its next checkpoint: what it was
            # handed at that moment is to go back before.
            if self._open:
                await self._send.send(request)
                await request.wait()
                return request
        except trio.BrokenResourceError:
            pass
        self._seat.hand_back(message)
        raise _NotTaken

    async def handle_error(self, job: object, attempt: int, error: Exception, /) -> object:  # noqa: ARG002
        """Do nothing about it: a function sees to its own errors."""
        return None

    async def handle_hibernate(self) -> None:
        """Rest."""

    async def handle_stop(self) -> None:
        """Tell the function that no more comes, and wait for its end."""
        self._send.close()
        await self._ended.wait()
