"""The stack of a ``handle_init``: it is left in order, and takes nothing that could not be."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from poolder_trio.kernel import interruptible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")
X = TypeVar("X", bound="AbstractContextManager[Any, Any] | Callable[..., bool | None]")
Y = TypeVar(
    "Y", bound="AbstractAsyncContextManager[Any, Any] | Callable[..., Awaitable[bool | None]]"
)


class Stack(AsyncExitStack):
    """An ``AsyncExitStack`` that takes nurseries and cancel scopes from a ``handle_init`` alone.

    Trio's scopes are left in the reverse of the order in which their task entered them. A handler
    runs inside of scopes that are left when it returns; so would the block of a component be
    inside of what its body had entered. What opens no scope may be entered at any time.

    What is in it belongs to users: Ctrl-C may interrupt each, but not come between two.
    """

    def __init__(self) -> None:
        super().__init__()
        self._initializing: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def settle(self) -> None:
        """Take no scopes from here on: ``handle_init`` has returned."""
        self._initializing = None

    @trio.lowlevel.enable_ki_protection
    def enter_context(self, cm: AbstractContextManager[T, bool | None]) -> T:
        """Enter a context manager; what it opened is closed at once if that has to be refused."""
        cm = interruptible.context(cm)
        if self._takes_all():
            return super().enter_context(cm)
        with ExitStack() as alone:
            before = _scopes()
            result = alone.enter_context(cm)
            _refuse_scopes(before)
            super().push(alone.pop_all())
            return result

    @trio.lowlevel.enable_ki_protection
    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, bool | None]) -> T:
        """Enter an async context manager, as `enter_context`."""
        cm = interruptible.async_context(cm)
        if self._takes_all():
            return await super().enter_async_context(cm)
        async with AsyncExitStack() as alone:
            before = _scopes()
            result = await alone.enter_async_context(cm)
            _refuse_scopes(before)
            super().push_async_exit(alone.pop_all())
            return result

    def push(self, exit: X) -> X:  # noqa: A002  # as the base says
        """Leave a context manager later, or call its like."""
        own: Any = exit
        is_context = hasattr(type(own), "__exit__")
        super().push(interruptible.context(own) if is_context else partial(interruptible.call, own))
        return exit

    def push_async_exit(self, exit: Y) -> Y:  # noqa: A002  # as the base says
        """Leave an async context manager later, or await its like."""
        own: Any = exit
        if hasattr(type(own), "__aexit__"):
            super().push_async_exit(interruptible.async_context(own))
        else:
            super().push_async_exit(partial(interruptible.wait, own))
        return exit

    def callback(
        self, callback: Callable[P, T], /, *args: P.args, **kwds: P.kwargs
    ) -> Callable[P, T]:
        """Call a function later."""
        super().callback(interruptible.call, callback, *args, **kwds)
        return callback

    def push_async_callback(
        self, callback: Callable[P, Awaitable[T]], /, *args: P.args, **kwds: P.kwargs
    ) -> Callable[P, Awaitable[T]]:
        """Await a function later."""
        super().push_async_callback(interruptible.wait, callback, *args, **kwds)
        return callback

    def _takes_all(self) -> bool:
        return self._initializing is not None and (
            self._initializing is trio.lowlevel.current_task()
        )


def _scopes() -> tuple[object, ...]:
    """Return what tells whether this task has entered a scope that it had not."""
    task = trio.lowlevel.current_task()
    # Trio has no public name for the scope that a task is in. Without it, nurseries show.
    return len(task.child_nurseries), getattr(task, "_cancel_status", None)


def _refuse_scopes(before: tuple[object, ...]) -> None:
    if _scopes() != before:
        raise RuntimeError(
            "a nursery, a component or a cancel scope can be entered in the stack by handle_init "
            "alone, since a handler ends inside of scopes of its own: enter it there, "
            "or with `async with` in the handler"
        )
