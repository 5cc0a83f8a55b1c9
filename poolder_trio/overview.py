"""What an application is made of, in words: its components, their options and next firings."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING

from poolder_trio.application import Application
from poolder_trio.kernel.marks import declared_triggers
from poolder_trio.kernel.notes import add_note, describe, printable
from poolder_trio.kernel.service import Service
from poolder_trio.policies.cron import Cron
from poolder_trio.policies.daytime import zone_of
from poolder_trio.policies.instants import in_utc
from poolder_trio.policies.triggers import Every, make_trigger, seeded
from poolder_trio.pool import Pool
from poolder_trio.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, tzinfo

    from poolder_trio.abc import Trigger

#: How many of a schedule's firings to come are shown.
FIRINGS = 3
_SHOWN = "%Y-%m-%d %H:%M:%S"


def overview(app: Application, now: datetime, *, everything: bool = False) -> Iterator[str]:
    """Yield the lines of a tree: components in the order of opening, options, next firings.

    Args:
        app: which is not run.
        now: the moment after which firings are sought.
        everything: whether to show options that have their default values, too.

    Raises:
        ValueError: a schedule never fires.
        Exception: whatever a trigger of the user's raises.
    """
    lines = _of(app, app.name or type(app).__name__, now, "", everything=everything)
    yield from map(printable, lines)


def _of(
    component: Service, title: str, now: datetime, indent: str, *, everything: bool
) -> Iterator[str]:
    kind = type(component)
    library = next(
        each
        for each in kind.__mro__
        if issubclass(each, Service) and each.__module__.startswith("poolder_trio.")
    )
    ancestry = kind.__name__ if kind is library else f"{kind.__name__}({library.__name__})"
    yield f"{indent}{title}: {ancestry}"
    hidden = {"name", "jobs", "schedules", "children", "options"}
    for name in component.OPTIONS:
        value = getattr(component, name)
        is_default = hasattr(library, name) and value == library.declared(name)
        if name not in hidden and (everything or not is_default):
            # Of `args`, the names: their values may be secrets, and this goes into logs.
            shown = ", ".join(value) or "{}" if name == "args" else describe(value)
            yield f"{indent}    {name} = {shown}"
    for name, trigger in schedules_of(component).items():
        zone = (
            trigger.timezone if isinstance(trigger, Cron) else getattr(component, "timezone", "UTC")
        )
        try:
            dates = ", ".join(firings(name, trigger, title, now, zone))
        except Exception as error:
            add_note(error, f"when {name!r} of {title} fires next cannot be told")
            raise
        yield f"{indent}    fires {name}: {dates}"
    if isinstance(component, Application):
        for name, child in zip(component.names, component, strict=True):
            yield from _of(child, name, now, f"{indent}    ", everything=everything)


def schedules_of(component: Service) -> Mapping[str, Trigger]:
    """Return the triggers that a component is opened with, by the names of their jobs."""
    if isinstance(component, Scheduler):
        return declared_triggers(type(component), component.jobs, component.timezone)
    if isinstance(component, Pool):
        return {
            name: make_trigger(value, component.timezone, f"schedules[{name!r}]")
            for name, value in component.schedules.items()
        }
    return {}


def firings(
    name: str, trigger: Trigger, where: str, now: datetime, zone: str | tzinfo = "UTC"
) -> Iterator[str]:
    """Yield when a trigger fires next, in UTC and as clocks in its zone show it.

    An interval, as if it were scheduled now.

    Raises:
        ValueError: it never does, or the trigger does not go forward.
        TypeError: the trigger returns something else than a date.
    """
    if isinstance(trigger, Every) and trigger.start is None:
        yield f"every {trigger.seconds:g} s"
        return
    trigger = seeded(trigger, name)
    at = trigger.next(now)
    if at is None:
        raise ValueError(f"{name!r} never fires: {trigger!r} has no date to come ({where})")
    for _ in range(FIRINGS):
        if at is None:
            return
        date = in_utc("next(after)", at, type(trigger).__name__)
        if date <= now:
            raise ValueError(
                f"next(after) must return a date after {now}, got {at} ({type(trigger).__name__})"
            )
        yield f"{date:{_SHOWN}} UTC{_local(date, zone)}"
        now, at = date, trigger.next(date)


def _local(date: datetime, zone: str | tzinfo) -> str:
    """Return what clocks in ``zone`` show, where that is not what those in UTC do."""
    place = zone_of(zone)
    if zone == "UTC" or place is timezone.utc:
        return ""
    text = str(zone) if str(zone).isprintable() else describe(zone)
    return f" ({date.astimezone(place):{_SHOWN}} {text})"
