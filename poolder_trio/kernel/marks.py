"""Triggers that are declared in a class: as marks on methods, and by name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from poolder_trio.policies.cron import Cron
from poolder_trio.policies.triggers import Every, make_trigger
from poolder_trio.policies.unstarted import close_unstarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime, tzinfo

    from poolder_trio.abc import Trigger

F = TypeVar("F", bound="Callable[..., Awaitable[object]]")

_MARK = "_poolder_trio_trigger"


def every(
    seconds: float, *, jitter: float = 0.0, start: datetime | None = None
) -> Callable[[F], F]:
    """Let a method of a `Scheduler` run every so often: ``@every(5)``.

    Args:
        seconds, jitter, start: as for `Every`.

    Raises:
        TypeError, ValueError: one of them is wrong; raised where the method is defined.
    """
    _refuse_method("every", "5", seconds)
    return _marking("every", lambda _: Every(seconds, jitter, start))


def cron(
    expression: str, *, timezone: str | tzinfo | None = None, jitter: float = 0.0
) -> Callable[[F], F]:
    """Let a method of a `Scheduler` run as a cron expression says: ``@cron("*/15 * * * *")``.

    Args:
        expression, jitter: as for `Cron`.
        timezone: as for `Cron`; by default, the scheduler's.

    Raises:
        TypeError, ValueError: one of them is wrong; raised where the method is defined.
    """
    _refuse_method("cron", "'30 2 * * *'", expression)
    return _marking("cron", lambda zone: Cron(expression, timezone or zone, jitter))


def _refuse_method(what: str, example: str, got: object) -> None:
    """Raise ``TypeError`` for a decorator without its trigger: what it made would never run."""
    if inspect.isroutine(got):
        raise TypeError(f"@{what} needs its trigger, as in @{what}({example}), got only {got!r}")


def _marking(what: str, make: Callable[[str | tzinfo], Trigger]) -> Callable[[F], F]:
    def mark(fn: F) -> F:
        name = getattr(fn, "__name__", repr(fn))
        is_async = inspect.iscoroutinefunction(fn)
        if not is_async:
            close_unstarted(fn)
            raise TypeError(f"@{what} takes an async def method, got {fn!r}")
        if hasattr(fn, _MARK):
            raise TypeError(f"{name} has a trigger already: a job has one, got @{what} as well")
        try:
            make("UTC")
        except (TypeError, ValueError) as error:
            raise type(error)(f"@{what} on {name}: {error}") from error
        setattr(fn, _MARK, make)
        return fn

    return mark


def marked(cls: type) -> dict[str, Callable[[str | tzinfo], Trigger]]:
    """Return what makes the triggers of marked methods, by their names."""
    found = {}
    for name in dir(cls):
        # An override without a mark has that of what it overrides.
        marks = (getattr(vars(base).get(name), _MARK, None) for base in cls.__mro__)
        make = next(filter(None, marks), None)
        if make is not None:
            found[name] = make
    return found


def declared_triggers(
    cls: type, jobs: Mapping[str, object], zone: str | tzinfo
) -> dict[str, Trigger]:
    """Return the triggers of all declared jobs: of marked methods, and of ``jobs``.

    What ``jobs`` says of a method goes before the mark of one that it overrides.
    """
    where = cls.__name__
    found: dict[str, Trigger] = {}
    for name, make in marked(cls).items():
        found[name] = make(zone)
    for name, value in jobs.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"jobs must have names that are str, got {name!r} ({where})")
        if getattr(vars(cls).get(name), _MARK, None) is not None:
            raise ValueError(f"jobs[{name!r}] in {where}: the method has a trigger already")
        found[name] = make_trigger(value, zone, f"jobs[{name!r}]", where)
    return found
