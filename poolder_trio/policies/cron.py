"""Cron expressions, in a zone whose clocks change."""

from __future__ import annotations

import copy
import re
from datetime import datetime
from random import getrandbits
from typing import TYPE_CHECKING

import attrs
from croniter import CroniterBadDateError, croniter

from poolder_trio.policies import checks
from poolder_trio.policies.daytime import ZONE, zone_of
from poolder_trio.policies.instants import SECOND, change, in_utc, readings
from poolder_trio.policies.jitter import spread

if TYPE_CHECKING:
    from datetime import tzinfo

_EXPECTED = "a cron expression of 5 fields, or 6 with the seconds first, or @daily and its like"
# croniter takes 5-5 for the whole field; in crontab it is 5.
_ONE = re.compile(r"(?<![\w-])(\w+)-\1(/[1-9]\d*)?(?![\w/-])", re.ASCII)
# From its last value on, a field has only that: croniter before 7 takes 59/15 for */15.
_LAST = ("59", "59", "23", "31", "12", "6")
# To croniter, h and r are numbers by chance; no name begins with them.
_CHANCE = re.compile(r"(?<![a-z])[hr]", re.IGNORECASE)
# Leap days on one day of the week are up to 40 years apart; what has not come by then never will.
_START = datetime(2000, 1, 1)  # noqa: DTZ001  # as all local times here


@attrs.frozen
class Cron:
    """Fires when clocks in a time zone show what a cron expression says.

    Lists, ranges (also ``fri-mon``), steps and names as in crontab; 0 and 7 are Sunday. If day of
    month and day of week are both given, either is enough; if one of them has a ``*``, as in
    ``*/2``, both have to match.

    When clocks change, it does as Vixie cron does. A fixed time, without a ``*`` in seconds,
    minutes and hours, that clocks skip comes at the first moment after the gap, and several that
    they skip come as one; of a time that they show twice, the first counts. With a ``*`` in one
    of the three it follows the clocks: nothing in the gap, and both times what they show twice.

    Args:
        expression: five fields, six with the seconds first, or ``@daily`` and its like.
        timezone: an IANA name or a ``tzinfo``.
        jitter: seconds by which each firing is late at most, at random, but never so late as the
            next due time.
        seed: what the random numbers come from; by default, each has its own.

    Raises:
        TypeError, ValueError: one of them is wrong, or there is no such date, as in
            ``0 0 30 2 *``.
    """

    expression: str = attrs.field(validator=checks.instance_of(str, _EXPECTED).field)
    timezone: str | tzinfo = attrs.field(default="UTC", validator=ZONE.field)
    jitter: float = attrs.field(default=0.0, validator=checks.FINITE_SECONDS.field)
    seed: int = attrs.field(
        factory=lambda: getrandbits(64),
        validator=checks.Check("an int", checks.is_int).field,
        eq=False,
        repr=False,
        kw_only=True,
    )
    _steps: croniter = attrs.field(init=False, eq=False, repr=False)
    _zone: tzinfo = attrs.field(init=False, eq=False, repr=False)
    _fixed: bool = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        steps = _parse(self.expression)
        object.__setattr__(self, "_steps", steps)
        object.__setattr__(self, "_zone", zone_of(self.timezone))
        # croniter keeps the seconds last.
        minute, hour, _, _, _, *second = steps.expressions
        object.__setattr__(self, "_fixed", "*" not in "".join([minute, hour, *second]))

    @property
    def fixed(self) -> bool:
        """Whether it is a fixed time, without a ``*`` in seconds, minutes and hours."""
        return self._fixed

    def next(self, after: datetime) -> datetime | None:
        """Return the first firing after ``after``, in UTC; ``None`` if none is before year 10000.

        Raises:
            TypeError, ValueError: ``after`` is no aware datetime.
        """
        return spread(self._due, in_utc("after", after, "Cron.next"), self.jitter, self.seed)

    def _due(self, after: datetime) -> datetime | None:
        try:
            return self._find(after.replace(microsecond=0))
        except (OverflowError, ValueError):  # beyond the years that a datetime has
            return None

    def _find(self, after: datetime) -> datetime:
        local = self._match(after)
        while True:
            first, second = readings(local, self._zone)
            if first <= second:
                # Only what is shown twice has passed once: then it is the second time.
                return first if first > after else second
            end = change(second, first, self._zone)
            if self._fixed:
                return end
            local = self._step(_shown(end, self._zone) - SECOND)

    def _match(self, after: datetime) -> datetime:
        """Return the first local time after ``after`` that matches; it may be in a gap."""
        zone = self._zone
        local = _shown(after, zone)
        first, second = readings(local, zone)
        if first >= second:
            return self._step(local)
        # Clocks show each time from `start` to `end` twice: before `again`, and from then on.
        again = change(first, second, zone)
        start, end = _shown(again, zone), again.replace(tzinfo=None) + (local - _naive(first))
        if after >= again:
            return self._step(end - SECOND if self._fixed else local)
        found = self._step(local)
        return self._step(start - SECOND) if found >= end and not self._fixed else found

    def _step(self, local: datetime) -> datetime:
        # A copy, for it keeps its position, and threads may share what a class declares.
        # It is given no zone: what it makes of changes of the clocks is something else.
        found: datetime = copy.copy(self._steps).get_next(datetime, local)
        return found


def _parse(expression: str) -> croniter:
    """Return what steps from one local time to the next.

    Raises:
        ValueError: the expression is wrong, or has no date.
    """
    text = _ONE.sub(r"\1", expression.strip())
    if not text.startswith("@"):
        fields = text.split()
        if len(fields) not in {5, 6} or _CHANCE.search(text):
            raise ValueError(_message(expression))
        text = " ".join(
            re.sub(rf"(?<![\w-]){last}/[1-9]\d*(?!\w)", last, field)
            for last, field in zip(_LAST[-len(fields) :], fields, strict=True)
        )
    try:
        steps = croniter(text, _START, second_at_beginning=True, implement_cron_bug=True)
        steps.get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f"{_message(expression)}: there is no such date") from None
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{_message(expression)}: {error}") from error
    return steps


def _message(expression: str) -> str:
    return f"expression must be {_EXPECTED}, got {expression!r} (Cron)"


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None, fold=0)


def _shown(moment: datetime, zone: tzinfo) -> datetime:
    """Return what clocks in ``zone`` show, as a naive datetime."""
    return _naive(moment.astimezone(zone))
