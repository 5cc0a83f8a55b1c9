"""Moments in UTC, and what clocks in a zone show then."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from poolder_trio.policies import checks

UTC = timezone.utc
SECOND = timedelta(seconds=1)

AWARE = checks.Check(
    "an aware datetime, such as datetime.now(timezone.utc)",
    lambda value: isinstance(value, datetime),
    lambda value: isinstance(value, datetime) and value.utcoffset() is not None,
)


def in_utc(name: str, moment: datetime, where: str) -> datetime:
    """Return ``moment`` in UTC, in which alone differences and comparisons count real time.

    Raises:
        TypeError, ValueError: it is no datetime, or naive; ``name`` and ``where`` say which.
    """
    if isinstance(moment, datetime) and moment.tzinfo is UTC:
        return moment
    AWARE(name, moment, where)
    return moment.astimezone(UTC)


def readings(local: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return when clocks in ``zone`` show the naive ``local``, in UTC, as PEP 495 has it.

    The first counts by the offset before a change of the clocks, the second by the one after it.
    So they are equal where clocks do not change; the first is the earlier for a time that is
    shown twice, and the later for one that is skipped, and never shown.
    """
    aware = local.replace(tzinfo=zone, fold=0)
    return aware.astimezone(UTC), aware.replace(fold=1).astimezone(UTC)


def change(early: datetime, late: datetime, zone: tzinfo) -> datetime:
    """Return the first moment, of those after ``early``, that has the offset of ``late``.

    Clocks change once between the two, at a full second, and both are full seconds.
    """
    offset = late.astimezone(zone).utcoffset()
    while late - early > SECOND:
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            late = middle
        else:
            early = middle
    return late
