"""When the clocks of a zone change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from poolder_trio.policies.instants import UTC, change

if TYPE_CHECKING:
    from datetime import tzinfo

#: No two changes of a clock are so close: the closest of the last fifty years were a week apart.
_APART = timedelta(days=3)
#: Moments of these years can be told in every zone.
_YEARS = range(2, 9999)


def changes(zone: tzinfo, after: datetime, until: datetime) -> list[datetime]:
    """Return the first moments that have another offset, of those after ``after``, in UTC."""
    if isinstance(zone, (ZoneInfo, timezone)) and zone.utcoffset(None) is not None:
        return []
    # What others have made may not be hashable, or large.
    of_year = _kept if type(zone) is ZoneInfo else _in_year
    return [
        each
        for year in range(after.year, until.year + 1)
        for each in of_year(zone, year)
        if after < each <= until
    ]


def _in_year(zone: tzinfo, year: int) -> tuple[datetime, ...]:
    """Return those after the first moment of a year, up to that of the next."""
    if year not in _YEARS:
        return ()
    early, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    offset, found = early.astimezone(zone).utcoffset(), []
    while early < end:
        late = min(early + _APART, end)
        offset_then = late.astimezone(zone).utcoffset()
        if offset_then != offset:
            found.append(change(early, late, zone))
        early, offset = late, offset_then
    return tuple(found)


# A thousand jobs of one zone that are late by years ask for the same ones.
_kept = lru_cache(maxsize=256)(_in_year)
