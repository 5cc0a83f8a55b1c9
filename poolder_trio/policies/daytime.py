"""Times of day: when it is that time next, in a zone whose clocks change."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone, tzinfo
from types import ModuleType
from zoneinfo import ZoneInfo

import attrs

from poolder_trio.policies import checks
from poolder_trio.policies.instants import converted, reads_clocks

_UTC = timezone.utc
_SECOND = timedelta(seconds=1)


def zone_of(name: str | tzinfo) -> tzinfo:
    """Return the time zone of this IANA name; one that is a zone already as it is.

    Raises:
        LookupError, OSError, ValueError: there is no such zone.
    """
    if isinstance(name, tzinfo):
        return name
    # UTC needs no data base, which not every machine has.
    return _UTC if name == "UTC" else ZoneInfo(name)


def _is_zone(name: object) -> bool:
    assert isinstance(name, (str, tzinfo))
    try:
        return reads_clocks(zone_of(name))
    except (LookupError, OSError, ValueError):
        return False


@attrs.frozen
class _ZoneCheck(checks.Check):
    """Says of a class or a module what was meant: names like ``timezone`` mean many things."""

    def _message(self, name: str, value: object, where: str) -> str:
        message = super()._message(name, value, where)
        if value is timezone:
            return f"{message}: write timezone.utc, or 'UTC'"
        if isinstance(value, type) and issubclass(value, tzinfo):
            return f"{message}: pass an instance of that class"
        if isinstance(value, ModuleType):
            return f"{message}: pass a zone that is made by what is in that module"
        return message


ZONE = _ZoneCheck(
    "the IANA name of a time zone, such as 'Europe/Berlin', or a tzinfo that knows PEP 495 and has "
    "a dst(), such as zoneinfo.ZoneInfo('Europe/Berlin'), and no zone of pytz",
    lambda value: isinstance(value, (str, tzinfo)),
    _is_zone,
)


def moment(when: datetime | time, now: datetime, zone: tzinfo) -> datetime:
    """Return the moment that ``when`` means, in UTC.

    Args:
        when: an aware datetime from ``now`` on; or a time of day: the next such time after
            ``now``, in its own time zone if it has one.
        now: an aware datetime.
        zone: where times of day are meant that say nothing else.

    Raises:
        TypeError: it is something else.
        ValueError: it is naive, has passed, or is beyond the years of UTC; or its zone is wrong.
    """
    if isinstance(when, time):
        if when.tzinfo is not None:
            ZONE("tzinfo", when.tzinfo, repr(when))
        try:
            return next_time_of_day(when.replace(tzinfo=None), now, when.tzinfo or zone)
        except OverflowError:
            raise ValueError(f"expected a time before the year 10000, got {when!r}") from None
    if not isinstance(when, datetime):
        message = f"expected an aware datetime, or a time of day, got {when!r}"
        raise TypeError(message)
    if when.utcoffset() is None:
        message = (
            f"expected an aware datetime, got the naive {when!r}: give it a tzinfo, "
            f"such as datetime.timezone.utc or zoneinfo.ZoneInfo('Europe/Berlin')"
        )
        raise ValueError(message)
    try:
        found = converted(when)
    except ValueError as error:
        raise ValueError(f"expected an aware datetime {error}") from None
    if found < now:
        message = (
            f"expected a time to come, got {when.isoformat()}, which was "
            f"{(now - found).total_seconds():g} s ago: perform it now, or give a later time"
        )
        raise ValueError(message)
    return found


def next_time_of_day(at: time, after: datetime, zone: tzinfo) -> datetime:
    """Return the next moment after ``after`` at which clocks in ``zone`` come to ``at``, in UTC.

    A time that a change of the clocks skips is right after the gap; of one that is repeated, only
    the first counts. At the very moment it is the next day's, so that a job that asks again for
    its own time does not run twice.
    """
    day = after.astimezone(zone).date()
    while (found := _on(datetime.combine(day, at.replace(fold=0), tzinfo=zone))) <= after:
        day += timedelta(days=1)
    return found


def _on(local: datetime) -> datetime:
    """Return when a local time is, in UTC; right after the gap if there is no such time."""
    late = local.astimezone(_UTC)
    if late.astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None):
        return late
    # PEP 495: in a gap, fold=0 counts by the offset before it and so comes out after the change
    # of the clocks, and fold=1 before it. Clocks change at full seconds.
    early = local.replace(fold=1).astimezone(_UTC)
    early, late = early.replace(microsecond=0), late.replace(microsecond=0)
    offset = late.astimezone(local.tzinfo).utcoffset()
    while late - early > _SECOND:
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if middle.astimezone(local.tzinfo).utcoffset() == offset:
            late = middle
        else:
            early = middle
    return late
