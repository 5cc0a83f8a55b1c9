"""How many dates of a cron expression there are, without stepping from one to the next."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies.clock_changes import changes
from poolder_trio.policies.crontab import Crontab, read
from poolder_trio.policies.daytime import zone_of
from poolder_trio.policies.instants import SECOND, shown

if TYPE_CHECKING:
    from datetime import date, datetime

    from poolder_trio.policies.cron import Cron

_SATURDAY = 5
#: No clocks are set back by more.
_DAYS = timedelta(days=2)


@attrs.frozen
class Calendar:
    """The dates of an expression, as arithmetic: days that match, times of day on each of them."""

    _table: Crontab
    _seconds: list[int]
    _minutes: list[int]
    _hours: list[int]
    #: The days of a month that match, by the day of the week of its first, and its length.
    _months: dict[tuple[int, int], list[int]] = attrs.field(factory=dict)

    @property
    def fixed(self) -> bool:
        """Whether it is a fixed time, without a ``*`` in seconds, minutes and hours."""
        return self._table.fixed

    def between(self, after: datetime, until: datetime) -> int:
        """Return how many dates are after ``after``, up to ``until``, both naive."""
        if until <= after:
            return 0
        daily = len(self._seconds) * len(self._minutes) * len(self._hours)
        return self._days(after.date(), until.date()) * daily + self._by(until) - self._by(after)

    def _by(self, moment: datetime) -> int:
        """Return how many dates its day has up to a moment."""
        if moment.month not in self._table.month:
            return 0
        if moment.day not in self._of(moment.year, moment.month):
            return 0
        seconds, minutes, hours = self._seconds, self._minutes, self._hours
        count = bisect_left(hours, moment.hour) * len(minutes) * len(seconds)
        if moment.hour in self._table.hour:
            count += bisect_left(minutes, moment.minute) * len(seconds)
            if moment.minute in self._table.minute:
                count += bisect_right(seconds, moment.second)
        return count

    def _days(self, first: date, end: date) -> int:
        """Return how many days match, from ``first`` on, before ``end``."""
        count = -bisect_left(self._of(first.year, first.month), first.day)
        for month in range(first.year * 12 + first.month, end.year * 12 + end.month):
            count += len(self._of((month - 1) // 12, (month - 1) % 12 + 1))
        return count + bisect_left(self._of(end.year, end.month), end.day)

    def _of(self, year: int, month: int) -> list[int]:
        if month not in self._table.month:
            return []
        kind = monthrange(year, month)
        found = self._months.get(kind)
        if found is None:
            found = self._months[kind] = _matching(self._table.days, *kind)
        return found


@lru_cache(maxsize=256)
def calendar_of(expression: str) -> Calendar:
    """Return the calendar of an expression that is known to be right."""
    table = read(expression)
    seconds = frozenset({0}) if table.second is None else table.second
    return Calendar(table, sorted(seconds), sorted(table.minute), sorted(table.hour))


def dates(cron: Cron, after: datetime, until: datetime) -> int:
    """Return how many due times ``cron`` has after ``after``, up to ``until``, both in UTC."""
    calendar, zone = calendar_of(cron.expression), zone_of(cron.timezone)
    after, until = after.replace(microsecond=0), until.replace(microsecond=0)
    since, count = shown(after, zone), 0
    for turn in changes(zone, _earlier(after), until):
        last, first = shown(turn - SECOND, zone), shown(turn, zone)
        if turn > after:
            count += calendar.between(since, last)
            since = first - SECOND
            if calendar.fixed and calendar.between(last, since):
                # What is skipped comes right after the gap, as one with what is due then.
                count += 1 - calendar.between(since, first)
        if calendar.fixed:
            since = max(since, last)  # the second time that it is shown does not count
    return count + calendar.between(since, shown(until, zone))


def _earlier(moment: datetime) -> datetime:
    """Return a moment from which on clocks may have changed to what they show at ``moment``."""
    try:
        return moment - _DAYS
    except OverflowError:
        return moment


def _matching(days: tuple[tuple[str, str], ...], first: int, length: int) -> list[int]:
    """Return the days of a month that match; its first is that day of the week, 0 is Monday."""
    found: set[int] = set()
    for day, week in days:
        found |= _of_month(day, first, length) & _of_week(week, first, length)
    return sorted(found)


def _of_month(text: str, first: int, length: int) -> set[int]:
    if text == "*":
        return set(range(1, length + 1))
    if text == "l":
        return {length}
    if not text.endswith("w"):
        return {day for day in map(int, text.split(",")) if day <= length}
    day = min(int(text[:-1]), length)
    weekday = (first + day - 1) % 7
    if weekday == _SATURDAY:
        day += -1 if day > 1 else 2
    elif weekday > _SATURDAY:
        day += 1 if day < length else -2
    return {day}


def _of_week(text: str, first: int, length: int) -> set[int]:
    if text == "*":
        return set(range(1, length + 1))
    found: set[int] = set()
    for term in text.split(","):
        day, _, nth = term.removeprefix("l").partition("#")
        # In an expression 0 is Sunday.
        all_of_it = range((int(day) - 1 - first) % 7 + 1, length + 1, 7)
        if nth:
            found.update(all_of_it[int(nth) - 1 : int(nth)])
        else:
            found.update(all_of_it[-1:] if term.startswith("l") else all_of_it)
    return found
