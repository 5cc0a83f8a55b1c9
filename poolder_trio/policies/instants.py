"""Moments in UTC, and what clocks in a zone show then."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from poolder_trio.policies import checks

if TYPE_CHECKING:
    from typing import Any

    import attrs

UTC = timezone.utc
SECOND = timedelta(seconds=1)
LAST = datetime.max.replace(tzinfo=UTC)

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
    try:
        return converted(moment)
    except ValueError as error:
        raise ValueError(f"{name} must be {error} ({where})") from None


def converted(moment: datetime) -> datetime:
    """Return an aware ``moment`` in UTC.

    Raises:
        ValueError: it is beyond the years of UTC, or counts by the local mean time that a zone of
            pytz has before somebody asks it; the error says what was expected.
    """
    try:
        found = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"between the years 1 and 9999 of UTC, got {moment!r}") from None
    zone = moment.tzinfo
    if hasattr(zone, "localize") and found.astimezone(zone).utcoffset() != moment.utcoffset():
        raise ValueError(
            f"of a zone that knows PEP 495, got {moment!r}, which counts by local mean time: "
            f"give it a zoneinfo.ZoneInfo, or make it with the localize of its own zone"
        )
    return found


def in_utc_field(instance: object, attribute: attrs.Attribute[Any], value: datetime) -> None:
    """Check a field of an attrs class: the form in which attrs calls validators."""
    in_utc(attribute.name, value, type(instance).__name__)


def reads_clocks(zone: tzinfo) -> bool:
    """Tell whether a zone can say when clocks in it show a time, as PEP 495 has it.

    Zones of pytz cannot, nor those that know nothing of ``fold``, nor, for the other direction,
    those whose ``dst()`` is ``None``.
    """
    if isinstance(zone, (ZoneInfo, timezone)):
        return True
    try:
        return _reads_clocks(zone)
    except Exception:  # noqa: BLE001  # whatever a zone of the user's raises: it is refused
        return False


def _reads_clocks(zone: tzinfo) -> bool:
    def is_read(moment: datetime) -> bool:
        return moment.astimezone(zone).replace(tzinfo=zone).astimezone(UTC) == moment

    days = [datetime(1980, 1, 1, tzinfo=UTC) + timedelta(days=30 * n) for n in range(700)]
    if not all(map(is_read, days)):
        return False
    changes = (
        change(early, late, zone)
        for early, late in itertools.pairwise(days)
        if early.astimezone(zone).utcoffset() != late.astimezone(zone).utcoffset()
    )
    # The quarters of the hours around a change of the clocks, some of which they may show twice.
    return all(
        is_read(turn + timedelta(minutes=15 * n))
        for turn in itertools.islice(changes, 8)
        for n in range(-8, 9)
    )


def shown(moment: datetime, zone: tzinfo) -> datetime:
    """Return what clocks in ``zone`` show, naive; beyond the years, the last or first of them."""
    try:
        return moment.astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError:
        return datetime.max if moment.year > 1 else datetime.min  # noqa: DTZ901  # naive, as it says


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
