"""Functions in a simulation: called where they stand, since its clock waits for no process."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, TypeVar

import trio

from poolder_trio.executors.functions import refuse_coroutine

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def run_inline(fn: Callable[..., T], args: tuple[object, ...]) -> T:
    """Return ``fn(*args)``, called in an empty context, as a process would call it."""
    await trio.lowlevel.checkpoint()
    result = Context().run(_call, fn, args)
    refuse_coroutine(fn, result)
    return result


@trio.lowlevel.disable_ki_protection
def _call(fn: Callable[..., T], args: tuple[object, ...]) -> T:
    return fn(*args)
