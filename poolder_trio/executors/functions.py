"""What executors run: functions, and no async ones."""

from __future__ import annotations

import functools
import inspect

from poolder_trio.kernel.notes import describe
from poolder_trio.policies.unstarted import REMEDY, close_unstarted


def name_of(fn: object) -> str:
    """Return what to call ``fn`` in messages."""
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else describe(fn)


def refuse_async(fn: object, executor: object) -> None:
    """Raise ``TypeError`` unless ``fn`` is callable and not async, as far as can be seen."""
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not callable(inner):
        close_unstarted(inner)
        problem, remedy = f"{name_of(fn)}, which cannot be called", REMEDY
    elif _is_async(inner) or _is_async(type(inner).__call__):
        problem, remedy = f"the async {name_of(fn)}", "async functions run without an executor"
    else:
        return
    raise TypeError(f"{executor!r} runs functions that are not async, got {problem}: {remedy}")


def refuse_coroutine(fn: object, result: object) -> None:
    """Raise ``TypeError`` if what ``fn`` returned is a coroutine: nothing would run it."""
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(
            f"{name_of(fn)} returned a coroutine: async functions run without an executor"
        )


def _is_async(fn: object) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)
