"""User code waits until the library's own steps are done, and never runs in an abort function."""

from __future__ import annotations

import threading
from collections import deque
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


class _Held(threading.local):
    """What is held back in this thread, in order."""

    depth = 0

    def __init__(self) -> None:
        self.calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()


_held = _Held()


def call(fn: Callable[..., object], *args: object) -> None:
    """Call ``fn(*args)``, now, or when what goes on here is whole.

    It runs user code, or ends what may be about to end.
    """
    if not (_held.depth or _held.calls):
        fn(*args)
        return
    _held.calls.append((fn, args))
    if not _held.depth:
        flush()


@trio.lowlevel.enable_ki_protection
def flush() -> None:
    """Make the calls that were held back, in order; one that raises leaves the others to come."""
    calls = _held.calls
    try:
        while calls and not _held.depth:
            fn, args = calls.popleft()
            fn(*args)
    finally:
        if calls and not _held.depth:
            flush()


class Abort:
    """Surrounds what an abort function does. Whoever was aborted calls `flush` when it goes on.

    What an instrument raises there would break Trio.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        _held.depth += 1

    def __exit__(self, *_: object) -> None:
        _held.depth -= 1


ABORT = Abort()


def whole(fn: Callable[P, T]) -> Callable[P, T]:
    """Decorate what changes several things: user code, and Ctrl-C, come before it or after it."""

    @trio.lowlevel.enable_ki_protection
    def together(*args: P.args, **kwargs: P.kwargs) -> T:
        _held.depth += 1
        try:
            return fn(*args, **kwargs)
        finally:
            _held.depth -= 1
            if _held.calls and not _held.depth:
                flush()

    return wraps(fn)(together)
