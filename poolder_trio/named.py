"""Job pools by their names, from anywhere in the same Trio run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from poolder_trio.job_pool import JobPool
from poolder_trio.kernel.registry import whereis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable
    from datetime import datetime, time

    from typing_extensions import Never, TypeVarTuple, Unpack

    from poolder_trio.kernel.delayed import Timer
    from poolder_trio.kernel.job import Job

    Ts = TypeVarTuple("Ts")

S = TypeVar("S")
T = TypeVar("T")


def _pool(name: str) -> JobPool:
    found = whereis(name)
    if not isinstance(found, JobPool):
        message = f"expected the name of a JobPool, but {name!r} is {found!r}"
        raise TypeError(message)
    return found


async def perform(
    pool: str,
    fn: Callable[[Unpack[Ts]], object] | str,
    /,
    *args: Unpack[Ts],
    key: Hashable = None,
    priority: float | None = None,
    **keywords: Never,
) -> None:
    """Run ``fn(*args)`` on the pool of this name: see `JobPool.perform`.

    This and the functions like it raise what the pool's method does, and:

    Raises:
        LookupError: no component of this name is open.
        TypeError: it is no `JobPool`.
    """
    await _pool(pool).perform(fn, *args, key=key, priority=priority, **keywords)


@overload
async def async_perform(
    pool: str,
    fn: Callable[[Unpack[Ts]], Awaitable[T]],
    /,
    *args: Unpack[Ts],
    key: Hashable = None,
    priority: float | None = None,
) -> Job[T]: ...
@overload
async def async_perform(
    pool: str,
    fn: Callable[[Unpack[Ts]], T],
    /,
    *args: Unpack[Ts],
    key: Hashable = None,
    priority: float | None = None,
) -> Job[T]: ...
@overload
async def async_perform(
    pool: str,
    fn: str,
    /,
    *args: object,
    key: Hashable = None,
    priority: float | None = None,
) -> Job[Any]: ...
async def async_perform(
    pool: str,
    fn: Callable[..., Any] | str,
    /,
    *args: object,
    key: Hashable = None,
    priority: float | None = None,
    **keywords: object,
) -> Job[Any]:
    """Run ``fn(*args)`` on the pool of this name: see `JobPool.async_perform`."""
    # A name and a function take different ways through the overloads, and come out alike.
    function = cast("str", fn)
    return await _pool(pool).async_perform(function, *args, key=key, priority=priority, **keywords)


async def perform_many(
    pool: str, fn: Callable[[S], object] | str, /, inputs: Iterable[S], **keywords: Never
) -> None:
    """Run ``fn`` with each of ``inputs``: see `JobPool.perform_many`."""
    await _pool(pool).perform_many(fn, inputs, **keywords)


@overload
async def async_perform_many(
    pool: str, fn: Callable[[S], Awaitable[T]], /, inputs: Iterable[S]
) -> list[Job[T]]: ...
@overload
async def async_perform_many(
    pool: str, fn: Callable[[S], T], /, inputs: Iterable[S]
) -> list[Job[T]]: ...
@overload
async def async_perform_many(pool: str, fn: str, /, inputs: Iterable[object]) -> list[Job[Any]]: ...
async def async_perform_many(
    pool: str, fn: Callable[[Any], Any] | str, /, inputs: Iterable[Any], **keywords: object
) -> list[Job[Any]]:
    """Run ``fn`` with each of ``inputs``: see `JobPool.async_perform_many`."""
    return await _pool(pool).async_perform_many(cast("str", fn), inputs, **keywords)


async def perform_after(
    pool: str,
    seconds: float,
    fn: Callable[[Unpack[Ts]], object] | str,
    /,
    *args: Unpack[Ts],
    **keywords: Never,
) -> Timer:
    """Run ``fn(*args)`` in ``seconds``: see `JobPool.perform_after`."""
    return await _pool(pool).perform_after(seconds, fn, *args, **keywords)


async def perform_at(
    pool: str,
    when: datetime | time,
    fn: Callable[[Unpack[Ts]], object] | str,
    /,
    *args: Unpack[Ts],
    **keywords: Never,
) -> Timer:
    """Run ``fn(*args)`` at a time of the wall clock: see `JobPool.perform_at`."""
    return await _pool(pool).perform_at(when, fn, *args, **keywords)


async def perform_many_after(
    pool: str,
    seconds: float,
    fn: Callable[[S], object] | str,
    /,
    inputs: Iterable[S],
    **keywords: Never,
) -> Timer:
    """Run ``fn`` with each of ``inputs`` in ``seconds``: see `JobPool.perform_many_after`."""
    return await _pool(pool).perform_many_after(seconds, fn, inputs, **keywords)


async def perform_many_at(
    pool: str,
    when: datetime | time,
    fn: Callable[[S], object] | str,
    /,
    inputs: Iterable[S],
    **keywords: Never,
) -> Timer:
    """Run ``fn`` with each of ``inputs`` at a time: see `JobPool.perform_many_at`."""
    return await _pool(pool).perform_many_at(when, fn, inputs, **keywords)
