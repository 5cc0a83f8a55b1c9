"""Coroutines that were passed where a function is taken: nobody is going to await them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

#: What to do instead.
REMEDY = "pass the function itself, without calling it"


def close_unstarted(value: object) -> bool:
    """Close a coroutine, or those in a mapping, that nobody has begun; tell whether there are any.

    Python warns of each that is never awaited, and what is wrong is said already.
    """
    if isinstance(value, Mapping):
        return sum(map(close_unstarted, value.values())) > 0  # all of them
    if not inspect.iscoroutine(value):
        return False
    if inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
        value.close()
    return True
