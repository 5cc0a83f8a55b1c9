"""What the handlers of a server return, and which of them may run beside others."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from poolder_trio.policies.unstarted import close_unstarted
from poolder_trio.verdicts import SAME, Continue, Directive, Update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

F = TypeVar("F", bound="Callable[..., Awaitable[object]]")

#: How long what ``handle_call`` returns is: a reply and a state.
PAIR = 2

_READS = "_poolder_trio_reads_state"


def reads_state(handler: F) -> F:
    """Mark a handler of a `GenPool` that makes no new state: it never waits for others to.

    It returns the state that it was given, or an `Update`; a new state is a ``TypeError``.

    Raises:
        TypeError: ``handler`` is not an async function.
    """
    function: object = handler
    if not inspect.iscoroutinefunction(function):
        close_unstarted(function)
        message = f"reads_state marks an async def function, got {function!r}"
        raise TypeError(message)
    setattr(handler, _READS, True)
    return handler


def _names_update(handler: object) -> bool:
    code = getattr(inspect.unwrap(getattr(handler, "__func__", handler)), "__code__", None)  # type: ignore[arg-type]  # what has no code is no function
    return code is not None and Update.__name__ in (*code.co_names, *code.co_freevars)


@attrs.frozen
class Callback:
    """A handler of a server.

    Attributes:
        name: by which users know it.
        fn: is given the message and the state.
        replies: whether it returns a reply beside the state.
        reads: whether it is marked by `reads_state`.
        overlaps: whether it begins without the lock. One that makes an `Update` has to, and nobody
            knows before it returns; so it is one that speaks of updates at all. If it then returns
            a new state, and the state has changed, it is run once more, with the lock.
    """

    name: str
    fn: Callable[[Any, Any], Awaitable[object]]
    replies: bool
    reads: bool
    overlaps: bool

    @classmethod
    def of(cls, owner: object, name: str, *, optimistic: bool) -> Callback:
        """Return the handler ``name`` of ``owner``."""
        fn = getattr(owner, name)
        reads = getattr(fn, _READS, False)
        overlaps = reads or optimistic or _names_update(fn)
        return cls(name, fn, name == "handle_call", reads, overlaps)


@attrs.frozen
class Info:
    """A message that is neither a call nor a cast."""

    message: object


@attrs.frozen
class Next:
    """What a handler wants to continue with."""

    arg: object


class Answer:
    """What a handler returned, taken apart.

    Attributes:
        state: the new state, or ``SAME``.
        reply: for the caller; a directive, for the worker.
        update: a change that is to be applied, or ``None``.
        next: what to continue with, or ``None``.
    """

    __slots__ = ("next", "reply", "state", "update")

    def __init__(
        self,
        state: Any = SAME,  # noqa: ANN401  # its type is the user's
        reply: object = None,
        update: Update[Any, object] | None = None,
        next: Next | None = None,  # noqa: A002  # as in `Next`
    ) -> None:
        self.state = state
        self.reply = reply
        self.update = update
        self.next = next


def take_apart(result: object, callback: Callback) -> Answer:
    """Return what a handler's return value says.

    Raises:
        TypeError: it says nothing that this handler can say.
    """
    if isinstance(result, Directive):
        if isinstance(result, Update):
            return Answer(update=result)
        if isinstance(result, Continue):
            return Answer(result.state, result.reply, next=Next(result.arg))
        return Answer(reply=result)
    if not callback.replies:
        return Answer(result)
    if isinstance(result, tuple) and len(result) == PAIR:
        return Answer(result[1], result[0])
    message = (
        f"{callback.name} must return (reply, new_state), Update(fn, reply=...), "
        f"Continue(arg, ...) or Stop(reply), got {result!r}"
    )
    raise TypeError(message)


def refuse_new_state(callback: Callback) -> TypeError:
    """Return the error for a handler that is marked by `reads_state` and makes a new state."""
    return TypeError(
        f"{callback.name} is marked with @reads_state and returned a new state: "
        f"return the state it was given, or an Update"
    )
