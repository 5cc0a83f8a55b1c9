"""An ``async with`` block, written as a generator, that leaves alone what passes through it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


class Block(Generic[T]):
    """Opens and closes, whatever its body ends with.

    The generator is not told of that: contextlib would assign to the exception on its way back,
    and some refuse that.
    """

    __slots__ = ("_manager",)

    def __init__(self, manager: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        return await self._manager.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._manager.__aexit__(None, None, None)


def block(fn: Callable[P, AsyncGenerator[T]]) -> Callable[P, Block[T]]:
    """Decorate a generator function: what comes after its ``yield`` is always done."""
    manager = asynccontextmanager(fn)

    @wraps(fn)
    def opening(*args: P.args, **kwargs: P.kwargs) -> Block[T]:
        return Block(manager(*args, **kwargs))

    return opening
