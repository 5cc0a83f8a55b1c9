"""How many firings there are in a span of time, without stepping from one to the next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from poolder_trio.policies.cron import Cron
from poolder_trio.policies.cron_dates import dates
from poolder_trio.policies.instants import LAST, UTC, in_utc
from poolder_trio.policies.triggers import Every

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.abc import Trigger


def passed(trigger: Trigger, after: datetime, until: datetime) -> tuple[int, datetime] | None:
    """Return how many firings are after ``after``, and up to when they were counted.

    That is ``until``, or before it if to count as far would hold the event loop: a year at most.

    Args:
        trigger: a `Cron`, or an `Every` with a ``start``.
        after: a moment in UTC.
        until: a later one.

    Returns:
        ``None`` if only the trigger itself knows: it is one of the user's own.
    """
    if type(trigger) is Cron:
        until = min(until, _next_year(after))
        cron = trigger
        return _spread(lambda a, b: dates(cron, a, b), trigger, after, until), until
    if type(trigger) is Every and trigger.start is not None:
        every, start = trigger, in_utc("start", trigger.start, "Every")

        def count(after: datetime, until: datetime) -> int:
            return _on_grid(every, start, until) - _on_grid(every, start, after)

        return _spread(count, trigger, after, until), until
    return None


def _spread(
    count: Callable[[datetime, datetime], int],
    trigger: Cron | Every,
    after: datetime,
    until: datetime,
) -> int:
    """Return how many firings there are, given what counts due times.

    Each due time has its firing before the next, so the numbers differ by the one due time at
    either end, at most, whose firing is still to come.
    """

    def waits(moment: datetime) -> int:
        fires = trigger.next(moment)
        return 1 if fires is not None and not count(moment, fires) else 0

    due = count(after, until)
    return due + waits(after) - waits(until) if trigger.jitter else due


def _on_grid(every: Every, start: datetime, until: datetime) -> int:
    """Return how many due times there are from the start on, up to a moment."""
    span = until - start
    if span < timedelta(0):
        return 0
    # The division is of floats, so it may be off, to either side.
    n = max(0, int(span.total_seconds() / every.seconds) - 1)
    while timedelta(seconds=n * every.seconds) <= span:
        n += 1
    return n


def _next_year(after: datetime) -> datetime:
    return LAST if after.year == LAST.year else datetime(after.year + 1, 1, 1, tzinfo=UTC)
